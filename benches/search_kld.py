#!/usr/bin/env python3
"""Whether a lower error of weights makes a model better: both searches, type by type.

  search_kld.py MODEL TEXT [--remold target/release/remold] [--types Q8_0,Q4_0,…] [--chunks N]

MODEL is quantized purely to each type with `--search reference` and `--search best`; each file is run beside MODEL
on the text by `remold verify`. The table has the mean NMSE of the packed tensors and the mean KLD of the logits. A
packed model has to be widened first: `remold convert MODEL.gguf wide.gguf --type f32`.
"""
import argparse, json, subprocess, sys, tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TYPES = "Q8_0,Q5_1,Q5_0,Q4_1,Q4_0,Q6_K,Q5_K_S,Q4_K_S,Q3_K_S,Q2_K,IQ4_NL,IQ4_XS"


def measured(o, kind, search, folder):
    """Mean NMSE, mean KLD and its standard error, and whether all gates let the file pass."""
    model, report = folder / "model.gguf", folder / "report.json"
    subprocess.run([o.remold, "quantize", o.model, model, kind, "--pure", "--search", search, "--no-sync", "--quiet",
                    "--overwrite"], check=True)
    chunks = ["--chunks", str(o.chunks)] if o.chunks else []
    passed = subprocess.run([o.remold, "verify", o.model, model, "--text", o.text, "--json", report, "--quiet", *chunks],
                            stdout=subprocess.DEVNULL).returncode == 0
    report = json.loads(report.read_text())
    errors = [tensor["nmse"] for tensor in report["tensors"] if tensor.get("nmse")]
    return sum(errors) / len(errors), report["mean_kld"], report["mean_kld_error"], passed


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("model", type=Path)
    ap.add_argument("text", type=Path)
    ap.add_argument("--remold", type=Path, default=ROOT / "target/release/remold")
    ap.add_argument("--types", default=TYPES)
    ap.add_argument("--chunks", type=int, help="run only so many chunks of 512 tokens")
    o = ap.parse_args()
    print("| type | NMSE, reference | best | ratio | KLD, reference | best | ratio | gates |\n|---|---|---|---|---|---|---|---|")
    good = True
    with tempfile.TemporaryDirectory() as folder:
        for kind in o.types.split(","):
            (e0, k0, s0, p0), (e1, k1, s1, p1) = [measured(o, kind, search, Path(folder)) for search in ("reference", "best")]
            good &= p0 and p1
            print(f"| {kind} | {e0:.2e} | {e1:.2e} | {e1 / e0:.2f} | {k0:.2e} ± {s0:.0e} | {k1:.2e} ± {s1:.0e} | {k1 / k0:.2f} "
                  f"| {'pass' if p0 and p1 else 'FAIL'} |", flush=True)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
