"""Writers of results, one a file; `formats` lists them."""
