"""Programs that a server should have run and sent as text instead, and configuration with passwords."""

from worker.reasons import Leak
from worker.security.leaks.rule import Rule

_KIND = Leak.SOURCE_CODE

# What pages and scripts write about PHP ("<?php" alone, or escaped) is none.
_PHP = (
    rb"<\?php\s{1,40}(?:/\*|//|#|\$\w|@|if ?\(|(?:namespace|use|require|require_once|include|include_once"
    rb"|define|declare|class|abstract|final|interface|function|return|echo|print|session_start|error_reporting|ini_set"
    rb"|header)\b)"
)
_ASP = (
    rb"<%(?:@ ?(?:page|taglib|include|language|control|master|webhandler|import)\b"
    rb"|\s{0,40}(?:Response\.Write|Response\.Redirect|Request\.(?:Form|QueryString)|Server\.CreateObject|Dim "
    rb"|out\.print(?:ln)?\(|request\.getParameter\())"
)
_NAMES = (
    rb"(?:[A-Z][A-Z0-9_]{0,40})?(?:PASSWORD|PASSWD|SECRET|SECRET_KEY|SECRET_ACCESS_KEY|API_KEY|PRIVATE_KEY|APP_KEY"
    rb"|AUTH_TOKEN|ACCESS_TOKEN|DATABASE_URL|MONGODB_URI|REDIS_URL)"
)
_PLACEHOLDERS = (b"$", b"<", b"{", b"[", b"*", b"your", b"xxx", b"changeme", b"...", b"null", b"none")


def _is_set(text: bytes, start: int, end: int) -> bool:
    """Is there a value, and no place for one?"""
    value = text[start:end].partition(b"=")[2].strip(b" '\"")
    return len(value) > 3 and not value.lower().startswith(_PLACEHOLDERS)


RULES: tuple[Rule, ...] = (
    Rule(_KIND, rb"<\?php\s", b"(?i)" + _PHP, rb"(\?>)|(?:[^?]|\?{1,8}[^?>]){1,100}|\?"),
    Rule(_KIND, rb"<%", b"(?i)" + _ASP, rb"(%>)|(?:[^%]|%{1,8}[^%>]){1,100}|%"),
    # .env, one line each
    Rule(
        _KIND,
        rb"^(?:export )?" + _NAMES + rb" ?=",
        rb"^(?:export )?" + _NAMES + rb" ?= ?[^\s<>]{1,300}",
        check=_is_set,
    ),
    # wp-config.php
    Rule(
        _KIND,
        rb"define\( ?['\"](?:DB_PASSWORD|DB_USER|AUTH_KEY|SECURE_AUTH_KEY|LOGGED_IN_KEY|NONCE_KEY)['\"]",
        rb"define\( ?['\"](?:DB_PASSWORD|DB_USER|AUTH_KEY|SECURE_AUTH_KEY|LOGGED_IN_KEY|NONCE_KEY)['\"]"
        rb", ?['\"][^'\"\r\n<]{1,200}['\"]",
    ),
    # settings.py
    Rule(_KIND, rb"^SECRET_KEY ?= ?['\"]", rb"^SECRET_KEY ?= ?['\"][^'\"\r\n<]{20,200}['\"]"),
    # web.config, appsettings.json
    Rule(
        _KIND,
        rb";\s?(?:Password|Pwd)\s?=",
        rb"(?i)connection(?:String|Strings)?\"?\s{0,4}[=:]\s{0,4}\"[^\"<\r\n]{1,300};\s?(?:Password|Pwd)\s?="
        rb"[^;\"<\r\n]{1,100}",
    ),
    # /etc/passwd and /etc/shadow, .htpasswd, .git/config
    Rule(_KIND, rb"^root:[^:\n]{0,128}:0:0:", rb"^root:[^:\r\n<]{0,128}:0:0:[^\r\n<]{0,200}"),
    Rule(
        _KIND,
        rb"^[\w.@-]{1,60}:\$(?:apr1|1|2[aby]|5|6|y)\$",
        rb"^[\w.@-]{1,60}:\$(?:apr1|1|2[aby]|5|6|y)\$[^\s<]{8,200}",
    ),
    Rule(
        _KIND,
        rb"repositoryformatversion = ",
        rb"^\[core\]\r?\n\s{1,8}repositoryformatversion = \d",
        rb"\r?\n[ \t]{1,8}[^\r\n]{1,240}|\r?\n\[[^\]\r\n]{1,100}\]",
    ),
)
