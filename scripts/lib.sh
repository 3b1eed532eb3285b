# Shared by the scripts beside it: `. scripts/lib.sh` after changing to the repository's root. POSIX sh.

say() { printf '%s\n' "$*" >&2; }

# Names of those commands that are not installed (Debian keeps servers in /usr/sbin, outside a user's PATH).
missing_commands() {
    for name in "$@"; do
        PATH="$PATH:/usr/sbin:/sbin" command -v "$name" >/dev/null || printf '%s ' "$name"
    done
}

# Install Debian packages if we may (as root, or by a sudo that asks nothing); else say what to type, and stop.
install_packages() {
    [ $# -gt 0 ] || return 0
    if ! command -v apt-get >/dev/null; then
        say "missing: $*  (Debian's names; install your system's equivalents, then run this again)"
        exit 1
    elif [ "$(id -u)" = 0 ]; then
        as_root=
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        as_root='sudo -n'
    else
        say "some system packages are missing. Please type this, then run this again:"
        say "    sudo apt-get install -y $*"
        exit 1
    fi
    say "installing $*"
    log=$(mktemp)
    # The first try fails quickly where the package lists were never fetched, as in most containers.
    if ! apt_install "$@" >"$log" 2>&1; then
        if ! { $as_root apt-get update -q && apt_install "$@"; } >"$log" 2>&1; then
            tail -n 20 "$log" >&2
            rm -f "$log"
            say "could not install: $*"
            exit 1
        fi
    fi
    rm -f "$log"
    # Debian starts the servers it installs; we only want their programs.
    for name in "$@"; do
        case $name in
        nginx | haproxy | varnish | trafficserver | caddy)
            if [ -d /run/systemd/system ]; then
                $as_root systemctl disable --now "$name" >/dev/null 2>&1 || :
            else
                $as_root service "$name" stop >/dev/null 2>&1 || :
            fi
            ;;
        esac
    done
}

apt_install() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" </dev/null
}
