"""Read one column of a Parquet file in a share: `columns.py LINK PATH COLUMN`."""

import sys

import pandas

link, path, column = sys.argv[1:4]
url = f"shoal://{link.removeprefix('shoal:')}/{path}"
frame = pandas.read_parquet(url, columns=[column])
print(frame[column].describe())
