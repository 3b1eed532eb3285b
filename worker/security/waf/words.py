"""The words of the SecLang language that this engine knows: variables, operators, actions, settings.

Names only, and what is said when another one is met. What a word does is known to the module that does it.
"""

from collections.abc import Iterable
from difflib import get_close_matches

SCALARS = frozenset(
    {
        "ARGS_COMBINED_SIZE", "AUTH_TYPE", "DURATION", "FILES_COMBINED_SIZE", "FULL_REQUEST",
        "FULL_REQUEST_LENGTH", "HIGHEST_SEVERITY", "INBOUND_DATA_ERROR", "MATCHED_VAR", "MATCHED_VAR_NAME",
        "MULTIPART_BOUNDARY_QUOTED", "MULTIPART_BOUNDARY_WHITESPACE", "MULTIPART_CRLF_LF_LINES",
        "MULTIPART_DATA_AFTER", "MULTIPART_DATA_BEFORE", "MULTIPART_FILE_LIMIT_EXCEEDED",
        "MULTIPART_HEADER_FOLDING", "MULTIPART_INVALID_HEADER_FOLDING", "MULTIPART_INVALID_PART",
        "MULTIPART_INVALID_QUOTING", "MULTIPART_LF_LINE", "MULTIPART_MISSING_SEMICOLON",
        "MULTIPART_STRICT_ERROR", "MULTIPART_UNMATCHED_BOUNDARY", "OUTBOUND_DATA_ERROR", "PATH_INFO",
        "QUERY_STRING", "REMOTE_ADDR", "REMOTE_HOST", "REMOTE_PORT", "REMOTE_USER", "REQBODY_ERROR",
        "REQBODY_ERROR_MSG", "REQBODY_PROCESSOR", "REQBODY_PROCESSOR_ERROR", "REQBODY_PROCESSOR_ERROR_MSG",
        "REQUEST_BASENAME", "REQUEST_BODY", "REQUEST_BODY_LENGTH", "REQUEST_FILENAME", "REQUEST_LINE",
        "REQUEST_METHOD", "REQUEST_PROTOCOL", "REQUEST_URI", "REQUEST_URI_RAW", "RESPONSE_BODY",
        "RESPONSE_CONTENT_LENGTH", "RESPONSE_CONTENT_TYPE", "RESPONSE_PROTOCOL", "RESPONSE_STATUS",
        "SERVER_ADDR", "SERVER_NAME", "SERVER_PORT", "STATUS_LINE", "TIME", "TIME_DAY", "TIME_EPOCH",
        "TIME_HOUR", "TIME_MIN", "TIME_MON", "TIME_SEC", "TIME_WDAY", "TIME_YEAR", "UNIQUE_ID",
        "URLENCODED_ERROR",
    }
)  # fmt: skip

COLLECTIONS = frozenset(
    {
        "ARGS", "ARGS_GET", "ARGS_GET_NAMES", "ARGS_NAMES", "ARGS_POST", "ARGS_POST_NAMES", "ENV", "FILES",
        "FILES_NAMES", "FILES_SIZES", "FILES_TMPNAMES", "FILES_TMP_CONTENT", "GEO", "GLOBAL", "IP",
        "MATCHED_VARS", "MATCHED_VARS_NAMES", "MULTIPART_FILENAME", "MULTIPART_NAME",
        "MULTIPART_PART_HEADERS", "REQUEST_COOKIES", "REQUEST_COOKIES_NAMES", "REQUEST_HEADERS",
        "REQUEST_HEADERS_NAMES", "RESOURCE", "RESPONSE_HEADERS", "RESPONSE_HEADERS_NAMES", "RULE", "SESSION",
        "TX", "USER", "XML",
    }
)  # fmt: skip

VARIABLES = SCALARS | COLLECTIONS

# What rules can change: one dictionary each, for the length of a transaction.
WRITABLE = ("TX", "IP", "GLOBAL", "SESSION", "USER", "RESOURCE")

XPATHS = ("/*", "//@*")  # the only selectors of XML

OPERATORS = frozenset(
    {
        "beginswith", "contains", "containsword", "detectsqli", "detectxss", "endswith", "eq", "ge",
        "geolookup", "gt", "ipmatch", "ipmatchf", "ipmatchfromfile", "le", "lt", "nomatch", "pm", "pmf",
        "pmfromfile", "rbl", "rx", "streq", "strmatch", "unconditionalmatch", "validatebyterange",
        "validateurlencoding", "validateutf8encoding", "within",
    }
)  # fmt: skip

# Documented, and not offered here: what they need (files, remote services, schemas) a gate may not wait for.
REFUSED_OPERATORS = frozenset(
    {
        "fuzzyhash", "gsblookup", "inspectfile", "rsub", "rxglobal", "validatedtd", "validatehash",
        "validateschema", "verifycc", "verifycpf", "verifyssn", "verifysvnr",
    }
)  # fmt: skip

# Accepted because rule sets contain them behind switches that are off; they look nothing up and never match.
INERT_OPERATORS = frozenset({"geolookup", "rbl"})

DISRUPTIVE = frozenset({"allow", "block", "deny", "drop", "pass", "redirect"})

ACTIONS = DISRUPTIVE | frozenset(
    {
        "accuracy", "auditlog", "capture", "chain", "ctl", "deprecatevar", "expirevar", "id", "initcol",
        "log", "logdata", "maturity", "msg", "multimatch", "noauditlog", "nolog", "phase", "rev",
        "sanitisearg", "sanitisematched", "sanitisematchedbytes", "sanitiserequestheader",
        "sanitiseresponseheader", "setenv", "setrsc", "setsid", "setuid", "setvar", "severity", "skip",
        "skipafter", "status", "t", "tag", "ver", "xmlns",
    }
)  # fmt: skip

# What `ctl` can change; the first group changes nothing here, for there is no audit log and no body limit.
INERT_CONTROLS = frozenset(
    {
        "auditengine", "auditlogparts", "debugloglevel", "forcerequestbodyvariable", "hashenforcement",
        "requestbodyaccess", "requestbodylimit", "responsebodyaccess", "responsebodylimit",
    }
)  # fmt: skip
CONTROLS = INERT_CONTROLS | frozenset(
    {
        "requestbodyprocessor", "ruleengine", "ruleremovebyid", "ruleremovebytag", "ruleremovetargetbyid",
        "ruleremovetargetbytag",
    }
)  # fmt: skip

# Directives about logs, files and limits that other servers need; read, remembered, without effect.
INERT_SETTINGS = frozenset(
    {
        "secargumentseparator", "secauditengine", "secauditlog", "secauditlogformat", "secauditlogparts",
        "secauditlogrelevantstatus", "secauditlogstoragedir", "secauditlogtype", "seccollectiontimeout",
        "seccomponentsignature", "seccookieformat", "secdatadir", "secdebuglog", "secdebugloglevel",
        "secpcrematchlimit", "secpcrematchlimitrecursion", "secrequestbodyaccess",
        "secrequestbodyinmemorylimit", "secrequestbodyjsondepthlimit", "secrequestbodylimit",
        "secrequestbodylimitaction", "secrequestbodynofileslimit", "secresponsebodyaccess",
        "secresponsebodylimit", "secresponsebodylimitaction", "secresponsebodymimetype",
        "secresponsebodymimetypesclear", "secruleengine", "secserversignature", "secstatusengine",
        "sectmpdir", "sectmpsaveuploadedfiles", "secunicodemapfile", "secuploaddir", "secuploadfilelimit",
        "secuploadfilemode", "secuploadkeepfiles", "secwebappid",
    }
)  # fmt: skip

SEVERITIES = ("emergency", "alert", "critical", "error", "warning", "notice", "info", "debug")


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """What to say about a word nobody knows: the nearest known ones, else all of them."""
    words = sorted(known)
    near = get_close_matches(name, words, n=3, cutoff=0.7)
    if near:
        return f"unknown {kind} {name!r}: did you mean {' or '.join(near)}?"
    return f"unknown {kind} {name!r}: known are {', '.join(words)}"
