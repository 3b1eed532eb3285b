"""XML bodies: the text of the document and the values of its attributes, which is what rules ask for.

No entity from outside is ever fetched; expat itself bounds the expansion of those inside. Bounded in depth.
"""

from xml.parsers import expat


class XmlError(ValueError):
    """Nested deeper than is looked at."""


class XmlText:
    """What a document holds for rules: `text` for XML:/*, `attributes` for XML://@*.

    `error` says why the body is no XML, or not to its end; what was read up to there is there all the same.
    """

    def __init__(self, body: bytes, *, max_depth: int) -> None:
        self.attributes: list[bytes] = []
        self._pieces: list[str] = []
        self._left = max_depth
        self.error: str | None = None
        parser = expat.ParserCreate()
        parser.ordered_attributes = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._pieces.append
        try:
            parser.Parse(body, True)
        except (expat.ExpatError, XmlError, LookupError, ValueError) as error:  # the latter: encodings
            self.error = str(error)
        self.text = "".join(self._pieces).encode()

    def _start(self, name: str, attributes: list[str]) -> None:
        self._left -= 1
        if self._left < 0:
            raise XmlError("nested too deep")
        # Declarations of namespaces are no attributes (XPath 1.0, 5.3).
        values = zip(attributes[::2], attributes[1::2], strict=True)
        self.attributes += [value.encode() for key, value in values if key != "xmlns" and key[:6] != "xmlns:"]

    def _end(self, name: str) -> None:
        self._left += 1
