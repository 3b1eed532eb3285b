"""How many requests and bytes a cache of a given size cannot answer: the real core beside known policies."""
