"""Names that scanners and tools of attack give themselves in User-Agent.

Programs that people fetch with (curl, Wget, libraries) are none. Knows nothing of the rest of a request.
"""

from worker.security.detect.linear import first, linear

SCANNERS = linear(
    rb"\b(?:sqlmap|sqlninja|havij|bsqlbf|pangolin|absinthe|nosqlmap|commix|xsser|xsstrike|dalfox|wpscan|"
    rb"joomscan|"
    rb"droopescan|cmsmap|whatweb|nikto|nuclei|jaeles|wapiti|skipfish|w3af(?:\.org)?|arachni|vega/|grabber|"
    rb"grendel-scan|golismero|openvas|greenbone|nessus|nexpose|qualys|acunetix|netsparker|invicti|appscan|"
    rb"webinspect|burp(?:suite| ?collaborator)?|zaproxy|owasp[ _-]?zap|dirbuster|dirb\b|dirsearch|gobuster|"
    rb"feroxbuster|ffuf|fuzz faster|wfuzz|patator|hydra|medusa|brutus|nmap|masscan|zgrab|zmap|zmeu|"
    rb"morfeus|muieblackcat|jorgee|dfind|w00tw00t|fimap|uniscan|webshag|paros|n-?stealth|n-stalker|"
    rb"metasploit|"
    rb"core-?impact|cobalt ?strike|netlab360|l9explore|l9tcpid|leakix|internet-?measurement|"
    rb"projectdiscovery|interactsh|httpx - open-source|katana\b|subfinder|amass|aquatone|eyewitness|"
    rb"detectify|intruder\.io|tenable|rapid7|nmap scripting engine|libredtail|hello,? ?world|"
    rb"mozi\.|mirai|xmrig|go-?scanner|scanbot|vulnscan\w*|shodan|censysinspect|expanse|binaryedge)\b|"
    rb"\b(?:masscan|zgrab|nuclei|sqlmap|nikto)[-/ ]?v?\d"
)


def find(agent: bytes) -> bytes | None:
    """The name; None if there is none."""
    return first(SCANNERS, agent)
