#!/usr/bin/env python3
"""As fuzz.sh, guided by coverage and under AddressSanitizer: cargo-fuzz, so many seconds for each target.

    scripts/fuzz_guided.py [--seconds 600] [--at-once 2] [TARGET…]

Needs a nightly compiler and cargo-fuzz (0.13.2). An input at which a target ends is kept in target/fuzz/TARGET, with
libFuzzer's log; it becomes a file of fixtures/fuzz/TARGET when it is mended. Exits 1 if there is one.
"""
import argparse, os, re, subprocess, sys, zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TRIPLE = "x86_64-unknown-linux-gnu"
TARGETS = {name: re.findall('"([^"]+)"', seeds) for name, seeds in
           re.findall(r'Target \{ name: "([\w-]+)",\s*seeds: &\[([^\]]*)\]', (ROOT / "fuzz/src/targets.rs").read_text())}


def seed(target, path):
    """A fixture; of an archive, where its checksums would stop every mutation, the pickle in it."""
    if "pickle" not in target:
        return path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        return archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))


def fuzz(target, program, seconds):
    work = ROOT / "target/fuzz" / target
    corpus = work / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(TARGETS[target]):
        (corpus / f"seed{i}").write_bytes(seed(target, ROOT / "fixtures" / name))
    environment = os.environ | {"REMOLD_FUZZ_TARGET": target, "ASAN_OPTIONS": "allocator_may_return_null=1:detect_leaks=0"}
    log = work / "log"
    with log.open("wb") as out:
        # A tensor of a hundred bytes may stand for a few megabytes, never for gigabytes.
        ended = subprocess.run([program, corpus, f"-max_total_time={seconds}", "-timeout=20", "-rss_limit_mb=2048",
                                "-max_len=262144", f"-artifact_prefix={work}/", "-print_final_stats=1"],
                               cwd=work, env=environment, stdout=out, stderr=out).returncode
    inputs = re.search(r"number_of_executed_units: *(\d+)", log.read_text(errors="replace"))
    print(f"{target}: {inputs[1] if inputs else '?'} inputs, {'no crash' if ended == 0 else f'ENDED, see {log}'}", flush=True)
    return ended == 0


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("targets", nargs="*", metavar="TARGET", help="all of fuzz/src/targets.rs if there is none")
    ap.add_argument("--seconds", type=int, default=600)
    ap.add_argument("--at-once", type=int, default=2)
    o = ap.parse_args()
    if unknown := set(o.targets) - set(TARGETS):
        ap.error(f"no target {', '.join(unknown)}; there are {', '.join(TARGETS)}")
    built = ROOT / "target/fuzz/build"
    subprocess.run(["cargo", "+nightly", "fuzz", "build", "--target-dir", built, "target"], cwd=ROOT, check=True)
    program = built / TRIPLE / "release/target"
    with ThreadPoolExecutor(o.at_once) as pool:
        good = list(pool.map(lambda target: fuzz(target, program, o.seconds), o.targets or TARGETS))
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
