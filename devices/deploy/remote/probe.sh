# What is this machine? Plain sh: whether it has Python is one of the questions.
say() { printf 'EDGEPROOF %s=%s\n' "$1" "$2"; }
say machine "$(uname -m)"
say system "$(uname -s)"
say time "$(date +%s)"
say home "$HOME"
say user "$(id -un)"
say libc "$(getconf GNU_LIBC_VERSION 2>/dev/null)"
for name in python3 python3.13 python3.12 python3.11 python3.10; do
    path=$(command -v "$name") || continue
    "$path" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || {
        say other "$("$path" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)"
        continue
    }
    say python "$path"
    say version "$("$path" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
    say bits "$("$path" -c 'import sys; print(64 if sys.maxsize > 2**32 else 32)')"
    break
done
say end ok
