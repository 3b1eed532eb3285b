"""The shape of the configuration file: every key, what it means, what it expects, its default.

One file per subject, one pydantic model per mapping, strict, no key beyond the declared ones; `top` has the
outermost. `Field(description=...)` is what an editor shows. Defaults that the settings of the layers below
know are taken from there, so that they are written once.
"""
