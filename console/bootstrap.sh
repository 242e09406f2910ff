#!/bin/sh
# Makes .venv from the pinned requirements, once: bootstrap.sh REQUIREMENTS
# Every missing tool is named with the command that installs it, all at once, before anything is made.
set -eu

cd "$(dirname "$0")/.."
requirements=$1
stamp=.venv/.installed-$(basename "$requirements" .txt)

suitable() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

python=
for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11; do
    if command -v "$candidate" >/dev/null 2>&1 && suitable "$candidate"; then
        python=$candidate
        break
    fi
done

packages=
missing=
need() { # WHAT PACKAGE
    missing="$missing  $1
"
    case " $packages " in
        *" $2 "*) ;;
        *) packages="$packages $2" ;;
    esac
}

if [ -z "$python" ]; then
    need "Python 3.11, 3.12 or 3.13 (or name one: make PYTHON=/path/to/python3.12)" python3
    need "Python's venv module" python3-venv
elif ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    need "the venv module of $python" "python$version-venv"
fi
for tool in ssh ssh-keygen ssh-keyscan; do
    command -v "$tool" >/dev/null 2>&1 || need "$tool" openssh-client
done
command -v tar >/dev/null 2>&1 || need tar tar

if [ -n "$missing" ]; then
    sudo=
    [ "$(id -u)" = 0 ] || sudo="sudo "
    printf 'Missing on this machine:\n%sInstall it, then run make again:\n  %sapt-get install%s\n' \
        "$missing" "$sudo" "$packages" >&2
    exit 1
fi

wanted=$(cat requirements.txt requirements-dev.txt constraints.txt | sha256sum)
if [ -e "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && suitable .venv/bin/python; then
    exit 0
fi

if ! suitable .venv/bin/python; then
    echo "Making .venv with $("$python" --version)"
    "$python" -m venv --clear .venv
fi
echo "Installing $requirements into .venv (the first time takes a few minutes)"
.venv/bin/python -m pip install --quiet --disable-pip-version-check -r "$requirements" -c constraints.txt
printf '%s' "$wanted" >"$stamp"
