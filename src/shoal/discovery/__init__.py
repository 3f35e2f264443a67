"""Ways to find the peers of a share, each one implementing `base.Discovery`.

`lan` uses multicast DNS, `dht` the mainline DHT, `static` a list that the user gave;
`combined` opens those that the settings allow. A new way is a module or package beside
these and one branch in `combined`.
"""
