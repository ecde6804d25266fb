#!/usr/bin/env python3
"""What the program asks of the system, as strace sees it: of no case of the hostile corpus does it open
a file outside of the case, start a program or open a socket; and of an output the bytes are on the
disk before its name, and the name is before the run ends.

    scripts/strace.py [PROGRAM]      target/release/remold; the corpus lies in ../shared/corpora or $REMOLD_CORPORA
"""
import json, os, re, shutil, subprocess, sys, tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = (Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "target/release/remold").resolve()
CORPUS = Path(os.environ.get("REMOLD_CORPORA", ROOT / "../shared/corpora")).resolve() / "hostile"
CALLS = "open,openat,openat2,execve,execveat,socket,connect,fsync,fdatasync,rename,renameat,renameat2,fork,vfork"
# What the loader, the standard library and the allocator look at.
OURS = ("/etc/ld.so", "/lib", "/usr/lib", "/proc/", "/sys/", "/dev/null", "/usr/share/locale")
CALL = re.compile(r'^\d+ +(\w+)\((?:(AT_FDCWD|\d+)(?:, |(?=\))))?(?:"((?:[^"\\]|\\.)*)")?(.*)\) += (-?\d+)')


def calls(arguments, work):
    """Each call: its name, its directory, its path, the rest, its result."""
    log = work / "log"
    subprocess.run(["strace", "-f", "-o", log, "-e", f"trace={CALLS}", PROGRAM, *arguments],
                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=work)
    return [m.groups() for line in whole(log.read_text(errors="replace")) if (m := CALL.match(line))]


def whole(text):
    """The lines, those of calls that another thread interrupted put together."""
    begun = {}
    for line in text.splitlines():
        thread, _, rest = line.partition(" ")
        if line.endswith("<unfinished ...>"):
            begun[thread] = line.removesuffix("<unfinished ...>").rstrip()
        elif rest.lstrip().startswith("<... "):
            yield begun.pop(thread, thread) + line.partition("resumed>")[2].lstrip(" ")
        else:
            yield line


def reaches_out(case, home, work):
    """What a conversion of the case opens, starts or connects to that is none of its business."""
    seen = calls(["convert", CORPUS / case, work / "out.safetensors", "--quiet", "--no-sync"], work)
    started = [c for c in seen if c[0] in ("execve", "execveat")][1:]
    reached = [c for c in seen if c[0] in ("socket", "connect", "fork", "vfork")]
    allowed = (str(home), str(work), *OURS)
    opened = [c for c in seen if c[0].startswith("open") and int(c[4]) >= 0 and c[1] in ("AT_FDCWD", None)
              and not os.path.normpath(c[2]).startswith(allowed)]
    return started + reached + opened


def corpus():
    if not (CORPUS / "manifest.json").exists():
        print(f"not run: {CORPUS} is absent (set REMOLD_CORPORA)")
        return 0
    cases, wrong = json.loads((CORPUS / "manifest.json").read_text())["cases"], 0
    for case in cases:
        path = CORPUS / case.get("open", case["file"])
        # A case that is a file may look at what lies beside it.
        home = path.parent if len(path.relative_to(CORPUS).parts) == 2 and path.is_file() else \
            CORPUS.joinpath(*path.relative_to(CORPUS).parts[:2])
        with tempfile.TemporaryDirectory() as work:
            for call in reaches_out(path, home, Path(work)):
                print(f"{case['file']}: {call}")
                wrong += 1
    print(f"{len(cases)} cases, {wrong} calls that reach out")
    return wrong


def order():
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        source, out = ROOT / "fixtures/tiny-llama", work / "out.gguf"
        seen = calls(["convert", source, out, "--type", "q8_0", "--quiet"], work)
        shown = next(i for i, c in enumerate(seen) if c[0].startswith("rename"))
        temporary = seen[shown][2]
        made = next(c for c in seen if c[2] == temporary and c[0].startswith("open"))
        synced = [i for i, c in enumerate(seen) if c[0] == "fsync"]
        files = [i for i in synced if seen[i][1] == made[4]]
        directories = [i for i in synced if seen[i][1] == made[1]]
        right = files and directories and max(files) < shown < min(directories)
        print("the file is synced, renamed, and its directory is synced" if right else f"another order: {seen}")
        return 0 if right else 1


if not shutil.which("strace"):
    sys.exit("not run: strace is absent")
sys.exit(1 if order() + corpus() else 0)
