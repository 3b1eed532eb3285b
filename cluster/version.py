"""The version of this source tree, the one place where it is written; the package takes it from here."""

VERSION = "0.1.0"
