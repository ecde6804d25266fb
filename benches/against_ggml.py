#!/usr/bin/env python3
"""Holds `remold quantize` against llama_model_quantize on one file: seconds, memory, bytes.

  against_ggml.py [--peer ggml_peer.py] [--remold target/release/remold] [--types Q4_0,IQ3_S,…]
                  [--rounds 3] [--threads 2] [--layers 2] [--search best] [--keep DIR]

The peer drives llama.cpp's prebuilt libraries; its path may also stand in $GGML_PEER. Both sides
quantize the same random Llama of 2048 columns in f16, in turn, without waiting for the disk; of
each side's rounds the median counts. The peer's wall time is that of llama_model_quantize alone;
its CPU time and memory are the process's, less the CPU time that starting it takes. Ours are the
whole process's, and so is the time of `cp` of as many bytes as are read and written.

Types are quantized purely, so that each row of the table is of one encoder, but for the mixtures
that have several. Types marked * are given an importance matrix. With --search best, ours is that
of our own search, and tensors differ. Needs numpy==2.4.6 gguf==0.19.0.
"""
import argparse, os, shutil, statistics, subprocess, sys, tempfile, threading, time
from pathlib import Path

import gguf
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
WIDTH, INNER, HEADS, KV_HEADS, VOCAB = 2048, 5632, 32, 8, 8192
PLAIN = ["F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K_S", "Q4_K_S", "Q5_K_S", "Q6_K",
         "Q3_K_M", "Q4_K_M", "Q5_K_M", "IQ4_NL", "IQ4_XS", "IQ3_XXS", "IQ3_S", "TQ1_0", "TQ2_0", "MXFP4_MOE",
         "NVFP4", "Q1_0", "Q2_0"]
COUNTED = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K_S", "Q4_K_S", "Q5_K_S", "Q6_K", "IQ4_NL", "IQ4_XS",
           "IQ3_XXS", "IQ3_S", "IQ2_XXS", "IQ2_XS", "IQ2_M", "IQ1_S", "IQ1_M"]
MIXED = ["Q3_K_M", "Q4_K_M", "Q5_K_M"]
REFUSED = ["NVFP4", "Q1_0", "Q2_0"]  # types of ggml that llama_model_quantize does not make in every version


def tensors(layers):
    yield "token_embd.weight", [VOCAB, WIDTH]
    yield "output_norm.weight", [WIDTH]
    yield "output.weight", [VOCAB, WIDTH]
    kv = WIDTH // HEADS * KV_HEADS
    for n in range(layers):
        for part, shape in [("attn_norm", [WIDTH]), ("ffn_norm", [WIDTH]), ("attn_q", [WIDTH, WIDTH]),
                            ("attn_k", [kv, WIDTH]), ("attn_v", [kv, WIDTH]), ("attn_output", [WIDTH, WIDTH]),
                            ("ffn_gate", [INNER, WIDTH]), ("ffn_up", [INNER, WIDTH]), ("ffn_down", [WIDTH, INNER])]:
            yield f"blk.{n}.{part}.weight", shape


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def model(path, layers):
    rng = np.random.default_rng(1)
    w = gguf.GGUFWriter(path, "llama")
    for add, value in [(w.add_block_count, layers), (w.add_context_length, 2048), (w.add_embedding_length, WIDTH),
                       (w.add_feed_forward_length, INNER), (w.add_head_count, HEADS), (w.add_head_count_kv, KV_HEADS),
                       (w.add_layer_norm_rms_eps, 1e-5), (w.add_rope_dimension_count, WIDTH // HEADS),
                       (w.add_vocab_size, VOCAB), (w.add_tokenizer_model, "none")]:
        add(value)
    for name, shape in tensors(layers):
        values = rng.standard_normal(shape, np.float32) * np.float32(0.02)
        w.add_tensor(name, values if len(shape) == 1 else values.astype(np.float16))
    finish(w)


def matrix(folder, layers):
    """One importance matrix in the forms of both sides."""
    rng = np.random.default_rng(2)
    means = {name: np.exp(rng.standard_normal(shape[-1])).astype(np.float32)
             for name, shape in tensors(layers) if len(shape) > 1}
    np.savez(folder / "matrix.npz", **means)
    w = gguf.GGUFWriter(folder / "matrix.gguf", "none")
    w.kv_data[0].clear()  # llama-imatrix writes no architecture
    w.add_string("general.type", "imatrix")
    w.add_array("imatrix.datasets", ["random"])
    w.add_uint32("imatrix.chunk_count", 1)
    w.add_uint32("imatrix.chunk_size", 512)
    for name, mean in means.items():
        w.add_tensor(name + ".in_sum2", mean[None, :])
        w.add_tensor(name + ".counts", np.ones((1, 1), np.float32))
    finish(w)


class Failed(Exception):
    pass


def watch(pid, peak):
    """The most anonymous memory, looked at a thousand times a second: what a process maps is not its own."""
    while peak["running"]:
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            return
        found = [int(line.split()[1]) / 1e3 for line in status.splitlines() if line.startswith("RssAnon")]
        peak["MB"] = max([peak["MB"], *found])
        time.sleep(0.001)


def run(command):
    """Wall and CPU seconds, most anonymous MB, and what was printed."""
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out:
        child = subprocess.Popen(command, stdout=out, stderr=out)
        peak = {"MB": 0.0, "running": True}
        watcher = threading.Thread(target=watch, args=[child.pid, peak])
        watcher.start()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = status
        wall = time.perf_counter() - start
        peak["running"] = False
        watcher.join()
        out.seek(0)
        text = out.read()
    if status:
        raise Failed(f"{' '.join(map(str, command))}: status {status}\n{text}")
    return wall, usage.ru_utime + usage.ru_stime, peak["MB"], text


def differing(ours, theirs):
    """The first tensor that is not the same in both files."""
    theirs = {t.name: t for t in gguf.GGUFReader(theirs).tensors}
    for tensor in gguf.GGUFReader(ours).tensors:
        other = theirs.pop(tensor.name, None)
        if other is None or tensor.tensor_type != other.tensor_type or not np.array_equal(tensor.data, other.data):
            return tensor.name
    return next(iter(theirs), None)


class Bench:
    def __init__(self, o, folder):
        self.o, self.folder = o, folder
        self.source = folder / "model.gguf"
        model(self.source, o.layers)
        matrix(folder, o.layers)
        self.start = statistics.median(run([sys.executable, o.peer, "types"])[1] for _ in range(3))

    def ours(self, kind, counted, threads):
        out = self.folder / "ours.gguf"
        out.unlink(missing_ok=True)
        command = [self.o.remold, "quantize", self.source, out, kind, "--threads", str(threads), "--no-sync", "--quiet"]
        command += ["--imatrix", self.folder / "matrix.gguf"] if counted else []
        command += [] if kind in MIXED else ["--pure"]
        command += ["--search", self.o.search] if self.o.search != "reference" else []
        return run(command)[:3]

    def theirs(self, kind, counted, threads):
        out = self.folder / "theirs.gguf"
        out.unlink(missing_ok=True)
        command = [sys.executable, self.o.peer, "quantize", self.source, out, kind, "-t", str(threads)]
        command += ["--imatrix", self.folder / "matrix.npz"] if counted else []
        command += [] if kind in MIXED else ["--pure"]
        _, cpu, peak, text = run(command)
        return float(text.split()[-2]), cpu - self.start, peak

    def copied(self, size):
        """`cp` of what is read and of what is written."""
        out, total = self.folder / "copied", 0
        part = self.folder / "part"
        with open(self.source, "rb") as whole, open(part, "wb") as file:
            file.write(whole.read(min(size, self.source.stat().st_size)))
        for path in [self.source, part]:
            out.unlink(missing_ok=True)
            total += run(["cp", path, out])[0]
        out.unlink()
        return total

    def row(self, kind, counted):
        try:
            return self.measured(kind, counted)
        except Failed as failed:
            print(f"| {kind + '*' * counted:9} | {str(failed).splitlines()[-1]} |", flush=True)
            return kind in REFUSED

    def measured(self, kind, counted):
        rounds = {name: [] for name in ("ours", "alone", "theirs", "cp")}
        for _ in range(self.o.rounds):
            rounds["theirs"].append(self.theirs(kind, counted, self.o.threads))
            rounds["ours"].append(self.ours(kind, counted, self.o.threads))
            rounds["alone"].append(self.ours(kind, counted, 1))
            rounds["cp"].append([self.copied((self.folder / "ours.gguf").stat().st_size)])
        ours, alone, theirs, cp = ([statistics.median(column) for column in zip(*rounds[name])]
                                   for name in ("ours", "alone", "theirs", "cp"))
        differs = differing(self.folder / "ours.gguf", self.folder / "theirs.gguf")
        print(f"| {kind + '*' * counted:9} | {theirs[0]:6.2f} | {ours[0]:6.2f} | {theirs[0] / ours[0]:5.1f} "
              f"| {theirs[1] / ours[1]:5.1f} | {theirs[2]:5.0f} | {ours[2]:4.0f} | {alone[0] / ours[0]:4.2f} "
              f"| {ours[0] / cp[0]:5.2f} | {'equal' if differs is None else 'differ at ' + differs} |", flush=True)
        return differs is None or self.o.search == "best"


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--peer", default=os.environ.get("GGML_PEER"))
    ap.add_argument("--remold", type=Path, default=ROOT / "target/release/remold")
    ap.add_argument("--types", default=",".join(PLAIN + [kind + "*" for kind in COUNTED]))
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--threads", type=int, default=os.cpu_count())
    ap.add_argument("--search", default="reference", choices=["reference", "best"])
    ap.add_argument("--layers", type=int, default=2)
    ap.add_argument("--keep", type=Path, help="a folder to work in, which is left as it is")
    o = ap.parse_args()
    if not o.peer or not Path(o.peer).exists():
        sys.exit(f"the peer is not there: {o.peer or 'give --peer or $GGML_PEER'}")
    if not o.remold.exists():
        sys.exit(f"{o.remold} is not there: cargo build --release")
    folder = o.keep or Path(tempfile.mkdtemp(prefix="against-ggml-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        bench = Bench(o, folder)
        weights = sum(int(np.prod(shape)) for _, shape in tensors(o.layers))
        print(f"{weights / 1e6:.0f} M weights, {bench.source.stat().st_size / 1e9:.2f} GB of f16; {o.threads} threads; "
              f"medians of {o.rounds} rounds\n")
        print("| type | theirs, s | ours, s | times as fast | times less CPU | theirs, MB | ours, MB "
              "| gain of threads | of cp | tensors |\n|---|---|---|---|---|---|---|---|---|---|")
        rows = [bench.row(kind.strip().rstrip("*").upper(), "*" in kind) for kind in o.types.split(",")]
    finally:
        if not o.keep:
            shutil.rmtree(folder)
    sys.exit(0 if all(rows) else 1)


if __name__ == "__main__":
    main()
