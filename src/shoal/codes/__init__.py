"""Offer and redeem codes: a number and three words in place of a link.

`offer` is the sender's side, which answers at the port of its shares, and `redeem` the
receiver's. What they send is in `shoal.core.session.code_exchange`.
"""
