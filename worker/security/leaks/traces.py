"""Stack traces, as runtimes print them and error pages show them."""

from worker.reasons import Leak
from worker.security.leaks.rule import Rule, lines

_KIND = Leak.STACK_TRACE

_JAVA_FRAME = rb"(?:at )?[\w.$/@<>-]{3,160}\([\w$.-]{1,80}\.(?:java|kt|scala|groovy|clj):\d{1,6}\)"
_JAVA_MORE = rb"(?:at )?[\w.$/@<>-]{3,160}\((?:[\w$.-]{1,80}:\d{1,6}|Native Method|Unknown Source)\)"
_NET_MORE = rb"@NL@IN{1,8}(?:at |--- End of )|@NL--- End of "

RULES: tuple[Rule, ...] = (
    # Python
    *lines(
        _KIND,
        rb"Traceback \(most recent call last\):",
        rb"Traceback \(most recent call last\):@NL@IN{1,8}File ",
        rb"(@NL[A-Za-z_][\w.]{0,120}(?:: @L{0,240})?)|@NL@IN{1,8}",
    ),
    # Java and its kin
    *lines(
        _KIND,
        rb"\.(?:java|kt|scala|groovy|clj):[0-9]{1,6}\)",
        rb"(?:\b[\w.$]{3,160}(?:Exception|Error|Throwable)(?:: @L{0,200})?)?@NL@IN{1,8}" + _JAVA_FRAME,
        rb"@NL@IN{0,8}(?:" + _JAVA_MORE + rb"|\.\.\. \d{1,5} |Caused by: |Suppressed: )",
    ),
    # .NET
    *lines(
        _KIND,
        rb"Exception(?: \(0x[0-9a-f]{1,8}\))?: ",
        rb"\b[\w.]{3,120}Exception(?: \(0x[0-9A-Fa-f]{1,8}\))?: @L{0,240}"
        rb"@NL@IN{1,8}at [\w.<>`+$|\[\],&; ]{3,200}\(",
        _NET_MORE,
    ),
    *lines(
        _KIND,
        rb":line [0-9]",
        rb"@NL@IN{1,8}at [\w.<>`+$|\[\],&; ]{3,200}\([^()\r\n\"\\]{0,160}\) in @L{1,160}:line \d{1,6}",
        _NET_MORE,
    ),
    *lines(
        _KIND,
        rb"Exception(?: \(0x[0-9a-f]{1,8}\))?: ",
        rb"\[\w{3,80}Exception(?: \(0x[0-9A-Fa-f]{1,8}\))?: @L{1,200}\]@NL@IN{1,8}[\w.]{3,160}\(",
        rb"@NL@IN{1,8}[\w.<>`+$|\[\],&;]{3,200}\(",
    ),
    Rule(
        _KIND,
        rb"Server Error in '",
        rb"Server Error in '/[^'\r\n<\"\\]{0,100}' Application\.",
    ),
    # Node
    *lines(
        _KIND,
        rb"\.[cm]?[jt]sx?:[0-9]{1,6}:[0-9]",
        rb"(?:\b\w{0,60}Error(?: \[\w{1,60}\])?: @L{0,160})?@NL@IN{1,8}"
        rb"at (?:(?:async |new )?[\w.$<>&;\[\] ]{1,120} \()?(?:file:///)?(?:[A-Za-z]:)?[^\s()<>\":]{1,160}"
        rb"\.[cm]?[jt]sx?:\d{1,6}:\d{1,6}",
        rb"@NL@IN{1,8}at ",
    ),
    # PHP
    Rule(
        _KIND,
        rb" on line (?:<b>)?[0-9]",
        rb"(?:PHP )?(?:<b>)?(?:(?:Fatal|Parse|Catchable fatal|Recoverable fatal) error|Warning|Notice"
        rb"|Deprecated)(?:</b>)?: {1,2}[^\r\n]{1,400} in (?:<b>)?[^\s<>\"]{1,200}(?:</b>)?"
        rb" on line (?:<b>)?\d{1,6}(?:</b>)?",
    ),
    *lines(
        _KIND,
        rb"\.php\([0-9]{1,6}\): ",
        rb"#\d{1,3} [^\s<>\"()\\]{1,200}\.php\(\d{1,6}\): ",
        rb"@NL#\d{1,3} |@NL@IN{1,8}thrown in ",
    ),
    # Ruby
    *lines(
        _KIND,
        rb"\.(?:rb|erb|ru|rake):[0-9]{1,6}:in ",
        rb"[\w./@-]{1,200}\.(?:rb|erb|ru|rake):\d{1,6}:in [`'&]",
        rb"@NL@IN{0,8}(?:from )?[\w./@()-]{1,200}:\d{1,6}:in ",
    ),
    # Go
    *lines(
        _KIND,
        rb"goroutine [0-9]{1,9} \[",
        rb"(?:panic: @L{0,240}(?:@NL){1,2})?goroutine \d{1,9} \[[a-z (),0-9]{1,60}\]:@NL",
        rb"@NL(?:@IN{1,8}[^\s:<\"\\]{1,200}\.go:|[\w./*()\[\]-]{2,200}\([^\r\n<\"\\]{0,200}\)|created by )",
    ),
    # Rust
    *lines(
        _KIND,
        rb"' (?:\([0-9]{1,9}\) )?panicked at ",
        rb"thread '[^'\r\n<\"\\]{1,80}' (?:\(\d{1,9}\) )?panicked at "
        rb"(?:'[^'\r\n<\"\\]{0,200}', )?[^\s<\"\\]{1,160}"
        rb":\d{1,6}:\d{1,6}",
        rb":@NL@L{1,240}|@NL(?:stack backtrace:|note: |@IN{1,20}(?:\d{1,3}: |at ))",
    ),
)
