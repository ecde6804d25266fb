#!/usr/bin/env python3
"""Whether a lower error of weights makes a model better: both searches, type by type.

  search_kld.py MODEL TEXT [--remold target/release/remold] [--types Q8_0,Q4_0,…] [--chunks N] [--draws N]

MODEL is quantized purely to each type with `--search reference` and `--search best`; each file is run beside MODEL
on the text by `remold verify`. The table has the mean NMSE of the packed tensors and the mean KLD of the logits. A
packed model has to be widened first: `remold convert MODEL.gguf wide.gguf --type f32`.

The KLD of one file is chance in part: it hangs on which way the weights that matter most were rounded. With --draws,
each type is packed several times, with the columns of every matrix shuffled before and put back after, so that other
weights share a scale, and err about as much; then means over the draws are shown, with the standard errors of those
means. MODEL has to be a GGUF of f32 then. Needs numpy==2.4.6 gguf==0.19.0.
"""
import argparse, json, math, shutil, statistics, subprocess, sys, tempfile
from pathlib import Path

import gguf
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
TYPES = "Q8_0,Q5_1,Q5_0,Q4_1,Q4_0,Q6_K,Q5_K_S,Q4_K_S,Q3_K_S,Q2_K,IQ4_NL,IQ4_XS"


def order(draw, columns):
    return np.random.default_rng([draw, columns]).permutation(columns)


def matrices(path, mode="r"):
    return [t for t in gguf.GGUFReader(path, mode).tensors if len(t.shape) > 1]


def shuffled(model, draw, out):
    """A copy of the model with the columns of matrices in another order."""
    shutil.copy(model, out)
    for tensor in matrices(out, "r+"):
        tensor.data[...] = tensor.data[..., order(draw, int(tensor.shape[0]))]


def put_back(model, packed, draw, out):
    """A copy of the model with the weights that the packed, shuffled one stands for."""
    shutil.copy(model, out)
    packed = {t.name: t for t in matrices(packed)}
    for tensor in matrices(out, "r+"):
        wide = gguf.dequantize(packed[tensor.name].data, packed[tensor.name].tensor_type)
        tensor.data[..., order(draw, int(tensor.shape[0]))] = wide.reshape(tensor.data.shape)


def measured(o, kind, search, draw, folder):
    """Mean NMSE, mean KLD and its standard error, and whether all gates let the file pass."""
    source, packed, report = folder / "source.gguf", folder / "packed.gguf", folder / "report.json"
    if draw:
        shuffled(o.model, draw, source)
    subprocess.run([o.remold, "quantize", source if draw else o.model, packed, kind, "--pure", "--search", search,
                    "--no-sync", "--quiet", "--overwrite"], check=True)
    if draw:
        put_back(o.model, packed, draw, source)
    chunks = ["--chunks", str(o.chunks)] if o.chunks else []
    passed = subprocess.run([o.remold, "verify", o.model, source if draw else packed, "--text", o.text, "--json",
                             report, "--quiet", *chunks], stdout=subprocess.DEVNULL).returncode == 0
    report = json.loads(report.read_text())
    names = {t.name for t in matrices(packed)}
    errors = [tensor["nmse"] for tensor in report["tensors"] if tensor["name"] in names]
    return statistics.mean(errors), report["mean_kld"], report["mean_kld_error"], passed or draw > 0


def summed_up(o, kind, search, folder):
    """The same of all draws."""
    draws = [measured(o, kind, search, draw, folder) for draw in range(o.draws)]
    nmse, kld, error, passed = zip(*draws)
    spread = statistics.stdev(kld) / math.sqrt(o.draws) if o.draws > 1 else error[0]
    return statistics.mean(nmse), statistics.mean(kld), spread, all(passed)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("model", type=Path)
    ap.add_argument("text", type=Path)
    ap.add_argument("--remold", type=Path, default=ROOT / "target/release/remold")
    ap.add_argument("--types", default=TYPES)
    ap.add_argument("--chunks", type=int, help="run only so many chunks of 512 tokens")
    ap.add_argument("--draws", type=int, default=1)
    o = ap.parse_args()
    print("| type | NMSE, reference | best | ratio | KLD, reference | best | ratio | gates |\n|---|---|---|---|---|---|---|---|")
    good = True
    with tempfile.TemporaryDirectory() as folder:
        for kind in o.types.split(","):
            (e0, k0, s0, p0), (e1, k1, s1, p1) = [summed_up(o, kind, search, Path(folder)) for search in ("reference", "best")]
            good &= p0 and p1
            print(f"| {kind} | {e0:.2e} | {e1:.2e} | {e1 / e0:.2f} | {k0:.2e} ± {s0:.0e} | {k1:.2e} ± {s1:.0e} | {k1 / k0:.2f} "
                  f"| {'pass' if p0 and p1 else 'FAIL'} |", flush=True)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
