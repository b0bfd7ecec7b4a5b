# What is this machine? Plain sh: whether it has Python is one of the questions.
say() { printf 'EDGEPROOF %s=%s\n' "$1" "$2"; }
say machine "$(uname -m)"
say system "$(uname -s)"
say time "$(date +%s)"
say home "$HOME"
say user "$(id -un)"
say libc "$(getconf GNU_LIBC_VERSION 2>/dev/null)"
# Its version, whether it is of 64 bits, and of which kind its compiled code is.
ask='import sys; print("%d.%d" % sys.version_info[:2], 64 if sys.maxsize > 2**32 else 32,
    sys.modules["_frozen_importlib_external"].MAGIC_NUMBER.hex())'
for name in python3 python3.13 python3.12 python3.11 python3.10; do
    path=$(command -v "$name") || continue
    read -r version bits kind <<END
$("$path" -IS -c "$ask" 2>/dev/null)
END
    case $version in
    3.10 | 3.11 | 3.12 | 3.13)
        say python "$path"
        say version "$version"
        say bits "$bits"
        say kind "$kind"
        break
        ;;
    [0-9]*.[0-9]*) say other "$version" ;;
    esac
done
say end ok
