"""Response rules: what an origin lets slip in a text, found before it is stored or sent.

`rule` says what a leak looks like, the files named after kinds list them, `finder` holds all of them behind
one prefilter, `inspection` carries a text past it piece by piece, `fetch` stands around a route's origin.
"""
