"""The typed face of the compiled core: the only package that imports ``shoestring.native._core``."""
