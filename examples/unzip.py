"""List a zip file in a share and print one member: `unzip.py LINK MEMBER`.

The other members are not fetched.
"""

import io
import sys
import zipfile

import shoal

with shoal.open(sys.argv[1]) as file, zipfile.ZipFile(file) as archive:
    for info in archive.infolist():
        print(info.filename, info.file_size)
    with archive.open(sys.argv[2]) as member:
        print(io.TextIOWrapper(member).read(), end="")
