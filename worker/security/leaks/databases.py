"""Error messages of databases and their drivers, each with the rest of its line."""

from worker.reasons import Leak
from worker.security.leaks.rule import Rule

_MESSAGES = (
    # MySQL, MariaDB
    rb"You have an error in your SQL syntax; check the manual",
    rb"SQLSTATE\[[0-9A-Z]{5}\]",
    rb"Warning(?:</b>)?: {1,2}(?:mysqli?|pg|sqlite|mssql|sqlsrv|oci|ibase|odbc)_[a-z_]{2,40}\(",
    rb"com\.mysql\.(?:cj\.)?jdbc\.",
    rb"MySQLSyntaxErrorException",
    rb"\(\d{4}, \\?[\"']You have an error in your SQL",
    rb"MySqlClient\.MySqlException",
    rb"Unknown column '[^'\r\n<\"\\]{1,100}' in '(?:field list|where clause|order clause|on clause)'",
    # PostgreSQL
    rb"ERROR: {1,2}(?:syntax error|unterminated quoted string) at or near",
    rb"ERROR: {1,2}(?:invalid input syntax for|(?:column|relation) .{1,100} does not exist)",
    rb"PG::[A-Z][A-Za-z]{3,40}: ERROR",
    rb"org\.postgresql\.util\.PSQLException",
    rb"psycopg2?\.errors\.[A-Z][A-Za-z]{3,40}",
    rb"Npgsql\.PostgresException",
    # SQL Server
    rb"Unclosed quotation mark after the character string",
    rb"Microsoft OLE DB Provider for (?:SQL Server|ODBC Drivers)",
    rb"\[(?:Microsoft\]\[)?ODBC [^\]\r\n<\"\\]{0,40}(?:SQL Server|Access) ?[^\]\r\n<\"\\]{0,20}\]",
    rb"(?:System|Microsoft)\.Data\.SqlClient\.SqlException",
    rb"com\.microsoft\.sqlserver\.jdbc\.SQLServerException",
    rb"Conversion failed when converting the n?varchar value",
    # Oracle
    rb"\b(?:ORA|PLS)-\d{5}: ",
    rb"java\.sql\.SQL[A-Za-z]{0,40}Exception",
    # SQLite
    rb"SQLite3::[A-Z][A-Za-z]{0,40}Exception",
    rb"sqlite3\.(?:OperationalError|IntegrityError|ProgrammingError)",
    rb"SQLITE_ERROR: ",
    rb"near \\?\"[^\"\r\n<\\]{1,60}\\?\": syntax error",
    rb"unrecognized token: \\?\"",
    # DB2, Sybase, Access
    rb"\bSQLCODE=-\d{1,5}, SQLSTATE=",
    rb"DB2 SQL error: ",
    rb"Sybase message: ",
    rb"Microsoft (?:JET|Access) Database Engine",
)

RULES: tuple[Rule, ...] = tuple(
    Rule(Leak.SQL_ERROR, message, message + rb"[^\r\n<\"\\]{0,300}") for message in _MESSAGES
)
