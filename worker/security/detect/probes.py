"""Addresses that scanners ask every site for: leftovers, keys, consoles, shells somebody may have planted,
and the doors of known exploits.

Asked of a request's path alone: the same words in a value are talk. A name counts where it stands in a path
as a whole segment, in any directory unless it is a word of its own.
"""

from worker.security.detect.linear import first, linear

_ANYWHERE = rb"/(?:[^/]+/)*"  # directories before it
_SCRIPT = rb"\.(?:php\d?|phtml|phar|jspx?|aspx?|ashx|asmx|cfm|cgi|pl|py|sh)"
_ARCHIVE = rb"\.(?:zip|tar|tgz|tbz2?|rar|7z|gz|bz2|xz|bak|tar\.(?:gz|bz2|xz)|sql(?:\.\w+)?|dump|old)"

# Files whose names begin with a dot are nobody's but the owner's; .well-known is for all.
_HIDDEN = linear(_ANYWHERE + rb"\.(?:[a-v_x-z0-9][\w-]|w[a-df-z_0-9]|we[a-km-z]|[\w-]+\.\w)[^/]*(?:/|$)")
_LEFTOVER = linear(
    _ANYWHERE
    + rb"(?:[^/]+\.(?:bak|bkp|backup|old|orig|original|save|saved|sav|swp|swo|tmp|temp|copy|dist|inc|sql|"
    rb"sqlite3?|db3?|mdb|accdb|dump|dmp|key|pem|p12|pfx|pk8|jks|keystore|ppk|kdbx?|ovpn|pcap|"
    rb"tfstate|tfvars|rdp|pwd|passwd|htpasswd|hprof|env|cnf|conf|ini)(?:\.(?:gz|zip|bz2|xz|bak|old|txt|"
    rb"\d+))?|"
    rb"[^/]+~|[^/]+\.(?:php|aspx?|jsp|ya?ml|json|xml|properties|config|py|rb)[._-](?:\d+|bak\w*|old|orig|"
    rb"save|"
    rb"swp|txt|tmp|copy|dist|sample|zip|gz)|"
    rb"(?:(?:[\w-]+[._-])?(?:backups?|dump|database|db|sql|www|wwwroot|public_html|htdocs|web|html|sites?|"
    rb"website|root|home|old|"
    rb"bak|src|source|users|full|mysql|localhost)(?:[._-]?[\d-]+)?|[\w-]+\.(?:com|org|net|example))"
    + _ARCHIVE
    + rb")$"
)
_PRIVATE = linear(
    _ANYWHERE
    + rb"(?:id_(?:rsa|dsa|ecdsa|ed25519)(?:\.\w+)?$|authorized_keys|known_hosts|etc/(?:passwd|shadow)|"
    rb"web(?:\.\w+)?\.config|passw(?:or)?ds?\.\w+$|php_error_?log|nbproject/private|stub_status$|"
    rb"(?:wp-config|configuration|config|settings|local_?settings|database|db|parameters|secrets?|"
    rb"credentials|"
    rb"local|config\.inc)[\w-]*\.(?:txt|ya?ml|inc|ini|conf|cfg|toml|properties|py|rb)$|"
    rb"(?:secrets?|credentials)[\w-]*\.json$|(?:wp-config|localsettings)[\w.-]*\.php[\w.~]*$|"
    rb"app/etc/\w+\.\w+$|application[\w-]*\.(?:properties|ya?ml)$|appsettings[\w.]*\.json$|"
    rb"docker-compose[\w.-]*\.ya?ml$|dockerfile$|vagrantfile$|jenkinsfile$|"
    rb"(?:ansible|inventory|serverless|cloudbuild|azure-pipelines|bitbucket-pipelines|buildspec|aws|"
    rb"sftp(?:-config)?|ftpsync|filezilla|sitemanager|winscp|deployment-config|google-services|"
    rb"service-?account|client_secrets?|terraform)[\w.-]*\.(?:ya?ml|json|xml|ini|tf)$|"
    rb"ws_ftp\.\w+$|error_log(?:\.\w+)?$|access_log(?:\.\w+)?$|(?:debug|laravel|php_?errors?|"
    rb"production|development|catalina|npm-debug|yarn-error|mysql|errors?|access)\.(?:log|out)$|"
    rb"cvs/(?:root|entries|repository)|_darcs/|web-inf/|meta-inf/|"
    rb"app_(?:data|code)/|global\.asax?$|php\.ini$|proftpdpasswd|tftpboot/|storage/(?:logs|framework)/)|"
    rb"^/(?:composer|package(?:-lock)?)\.(?:json|lock)$|^/(?:yarn\.lock|requirements\.txt|gemfile(?:\.lock)?|"
    rb"makefile|procfile|(?:config|env|settings)\.json)$"
)
# Doors to what an owner keeps for himself; names that are words count only where nothing else would stand.
_CONSOLE = linear(
    _ANYWHERE
    + rb"(?:php-?_?my-?_?admin[\w.-]*|pma\d*|myadmin|(?:mysql|sql|db|web)-?_?(?:admin|manager|dumper|"
    rb"buddy)[\w.-]*|"
    rb"sqlitemanager|adminer[\w.-]*|php(?:pg|redis|memcached|ldap)admin[\w-]*|pgadmin\d*|"
    rb"manager/(?:html|status|text|jmxproxy)|host-manager|(?:jmx|web|ejb|hawtio)-console|"
    rb"jmxinvokerservlet|jolokia|"
    rb"jenkins/script|hudson/script|scriptconsole|_all_dbs|_utils|"
    rb"actuator(?:[;/%][\w;/%.-]+)?|heapdump|threaddump|"
    rb"debug/(?:pprof|vars|default)|_debugbar|_profiler|_wdt|_ignition|telescope/requests|rails/info|"
    rb"elmah\.axd|trace\.axd|server-(?:status|info)|(?:nginx|fpm|php-fpm)[-_]status|balancer-manager|"
    rb"axis2(?:-admin)?|uddiexplorer|_async|wls-?wsat|bea_wls\w*|cfide|lucee/admin|railo-context|iissamples|"
    rb"iisadmpwd|_vti_\w+|msadc|level/\d+/exec|laravel-filemanager|kcfinder|elfinder|fckeditor|"
    rb"xxl-job-admin|phpunit/(?:src/)?util/php)(?:$|/|\.(?:action|do|php|jsp|html?))|"
    rb"^/(?:env|trace|dump|autoconfig|configprops|beans|mappings|httptrace|logfile|console|script|haproxy|"
    rb"phpunit|status|invoker|mysql|jenkins|hudson|nagios|cacti|zabbix|druid|solr|kibana|geoserver|nacos|"
    rb"invoker)/?$|"
    rb"^/(?:(?:images|containers)/json|v[12](?:\.\d+)?/(?:_catalog|containers|keys|agent|kv)|api/v1/(?:pods|"
    rb"namespaces|secrets|nodes)|_(?:cat|cluster|nodes)/|console/(?:login|css|j_security|images)|solr/admin|"
    rb"solr/[\w.-]+/(?:config|dataimport|select|debug|admin)|druid/(?:indexer|coordinator|index\.html)|"
    rb"invoker/|mysql/admin|pgadmin/|jenkins/(?:login|asynchpeople)|nifi-api/|webtools/control|nacos/v1|"
    rb"geoserver/(?:ows|wfs|web)|securityrealm/|descriptorbyname/|scripts/(?:root|cmd|setup|samples|\.)|"
    rb"setup/setupadministrator|server-info\.action|struts2?-\w+|xampp/|phpinfo)"
)
_WORDPRESS = linear(
    _ANYWHERE
    + rb"(?:xmlrpc\.php$|wlwmanifest\.xml|wp-json/wp/v\d/users|wp-content/(?:debug\.log|backup[\w-]*|"
    rb"uploads/.*\.(?:php\d?|sql|zip|log)$|(?:plugins|themes|mu-plugins)/.*(?:\.php|\.log|\.sql|"
    rb"readme\.txt|error_log)$)|"
    rb"wp-admin/(?:install|setup-config|includes/|css/.*\.php|js/.*\.php|maint/|user/)|wp-includes/.*\.php$|"
    rb"installer(?:-\w+)?\.php$|joomla\.xml|magmi/|sites/default/(?:settings|files/.*\.php)|"
    rb"administrator/(?:manifests|logs)/|timthumb\.php$)|^/(?:changelog\.txt|readme\.html|install\.php)$"
)
# Shells somebody may have planted, and pages that tell how PHP is set up.
_PLANTED = linear(
    _ANYWHERE
    + rb"(?:[\w-]*shell\w*|cmd\d?|c99\w*|c100|r57\w*|wso\w*|b374k\w*|alfa\w*|upl|up|upfile|webadmin|"
    rb"marijuana|indoxploit|leafmailer\w*|priv8?|0x\w*|wp_filemng|fox\w*|gel4y|shx|xx+|xl\d+|zz+|1337|ws\d\d|"
    rb"hack\w*|owned|pwn\w*|evil|backdoor\w*|lock360|exec|eval|spy\w*|dtool|symlink|antsword|caidao|tunnel|"
    rb"godzilla|"
    rb"behinder|r00t|mailer|adminfuns|_?phpinfo\d*|php_?info|php_?version|infophp|pi|i|_?info\d?|test\d?|"
    rb"phptest)"
    + _SCRIPT
    + rb"$|^/[a-z0-9]\.php$|/cgi-bin/(?:[^/]*/)*(?:\.\.|\.%|php\d?|php-cgi\w*|test[\w-]*|printenv\w*|"
    rb"env\w*|status|"
    rb"stats?|sh|bash|ksh|luci|viewcgi|awstats\w*|authlogin|mainfunction|nas_sharing|viewlog|account_mgr|"
    rb"webcm|"
    rb"system\w*|supervisor|ping|info\w*|formmail|phf|nph-\w+|handler|htsearch|webproc|export\w+|jarrewrite|"
    rb"kerbynet|fileman\w*|wlogin|webif|firmware\w*|diag\w*)(?:$|[./;?])"
)
# Devices and gateways with known holes.
_DEVICE = linear(
    _ANYWHERE + rb"(?:hnap1|boaform|gponform|goform|ctrlt|wanip\w*\.xml|picsdesc\.xml|rootdesc\.xml|dvr/cmd|"
    rb"onvif[\w-]*|psia|isapi|system/(?:configurationfile|deviceinfo)|setup\.cgi|"
    rb"\w+unblock\.cgi|currentsetting\.htm|soap\.cgi|hedwig\.cgi|apply\w*\.cgi|board\.cgi|"
    rb"getcfg\.php|device\.rsp|devicedescription\.xml|deviceupgrade\w*|rom-0|password\.cgi|dnscfg\.cgi|"
    rb"remote/(?:fgt_lang|hostcheck\w*)|dana-(?:na|cached|ws)|\+cscoe\+|\+cscot\+|\+webvpn\+|tmui|"
    rb"mgmt/(?:tm|shared)|"
    rb"pcidss|vropspluginui|analytics/telemetry|suite-api|mifs|recordings/misc|a2billing|vtigercrm|"
    rb"telerik\.web\.ui\.\w+|moveitisapi|guestaccess\.aspx|service/extdirect|"
    rb"autodiscover/autodiscover\.json|owa/auth/\w+\.js|ecp/.*\.(?:js|xml)|default\.ida|"
    rb"[\w-]+\.printer|thinkphp|vsphere-client|ui/vropspluginui)(?:$|/|\?)|^/(?:sdk|shell|evox/about|"
    rb"ud/act)/?$"
)
# Paths that scanners put their own names into.
_NAMED = linear(
    rb"acunetix|w00tw00t|zmeu|nmap(?:lower|upper)check|nice%20ports|trinity\.txt|jndi-?scan|"
    rb"muieblackcat|nessus|nikto|qualys|openvas|netsparker|appscan|sqlmap|nuclei|burpcollab|"
    rb"interact\.sh|oastify|morfeus|soapcaller|pmafind|testforvuln|vulnscan|scanner(?:-?test|\.php)|"
    rb"this_page_does_not_exist|non_?existent_?\w*\d|randomfile\d|cve-\d{4}-\d+|log4j-?(?:scan|test)"
)
# What no path of a page has: separators of a shell, brackets of code.
_STRANGE = linear(
    rb"/(?:%24|\$)(?:%7b|\{)|/(?:cmd|command\.com)\.exe|/\.\.;|;\.?\.?/(?:web-inf|manager|admin|actuator)|"
    rb"/%2e%2e|/%c0%ae|"
    rb"/\.%2e|/%%32|\.\.%2f|/_/;/|::\$data|/%3f\.jsp|\.jsp/?%00|/\.\.%5c|%2fetc%2f|/vpn/\.\./|/cdn-cgi/\.\."
)

PROBED = (_HIDDEN, _LEFTOVER, _PRIVATE, _CONSOLE, _WORDPRESS, _PLANTED, _DEVICE, _NAMED, _STRANGE)


def find(path: bytes) -> bytes | None:
    """The part of a request's path that only scanners ask for; None if there is none."""
    for pattern in PROBED:
        found = first(pattern, path)
        if found is not None:
            return found
    return None
