//! What is accepted from a file, and how much of it.

use super::{Error, Result};

/// Makes the struct, its defaults and the table of names from one list.
macro_rules! limits {
    ($($(#[$doc:meta])* $field:ident: $name:literal = $default:expr,)*) => {
        /// What is accepted from a file, and how much of it; `--limit NAME=VALUE` changes one.
        #[derive(Debug, Clone)]
        pub struct Limits {
            $($(#[$doc])* pub $field: u64,)*
            /// Weights are compared with the checksums that their file states, which reads all of
            /// them.
            pub checksums: bool,
            /// Objects of foreign classes in a pickle are left out instead of refused.
            pub skip_objects: bool,
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($field: $default,)* checksums: false, skip_objects: false }
            }
        }

        const LIMITS: &[Row] = &[$(Row {
            name: $name,
            raise: concat!("--limit ", $name, "=N raises this"),
            place: |limits| &mut limits.$field,
        },)*];
    };
}

/// A limit that `--limit` sets.
struct Row {
    name: &'static str,
    /// What a refusal says.
    raise: &'static str,
    place: fn(&mut Limits) -> &mut u64,
}

limits! {
    /// Bytes of one side file (config.json, tokenizer.json, …) that is parsed as a whole.
    side_file: "side-file" = 256 << 20,
    /// Bytes of a safetensors header.
    safetensors_header: "safetensors-header" = 100_000_000,
    /// Bytes of one text in a GGUF file. Templates stay below 1 MiB.
    gguf_string: "gguf-string" = 16 << 20,
    /// Bytes of all metadata of a GGUF file.
    gguf_metadata: "gguf-metadata" = 1 << 30,
    /// Entries of the metadata of a GGUF file.
    gguf_entries: "gguf-entries" = 1 << 20,
    /// Bytes of a key of a GGUF file.
    gguf_key: "gguf-key" = 65_535,
    /// Arrays within arrays of a GGUF file; never more than 64.
    gguf_nesting: "gguf-nesting" = 8,
    /// Tensors of a GGUF file.
    gguf_tensors: "gguf-tensors" = 10_000_000,
    /// Bytes of a tensor's name in a GGUF file.
    gguf_name: "gguf-name" = 64,
    /// Dimensions of a tensor of a GGUF file.
    gguf_rank: "gguf-rank" = 4,
    /// Bytes to which a GGUF file aligns its tensors.
    gguf_alignment: "gguf-alignment" = 1 << 20,
    /// Bytes of a pickle.
    pickle_bytes: "pickle-bytes" = 512 << 20,
    /// Bytes of a deflated pickle, which is held in memory.
    pickle_inflated: "pickle-inflated" = 64 << 20,
    /// Opcodes of a pickle.
    pickle_opcodes: "pickle-opcodes" = 50_000_000,
    /// Values and marks on the stack of a pickle at one time.
    pickle_stack: "pickle-stack" = 1_000_000,
    /// Values of a pickle, and the highest index of its memo.
    pickle_values: "pickle-values" = 16 << 20,
    /// Pickled values within values.
    pickle_nesting: "pickle-nesting" = 1000,
    /// Bytes of a line of a pickle in its text protocol.
    pickle_line: "pickle-line" = 1 << 20,
    /// Bytes or digits of an integer of a pickle.
    pickle_integer: "pickle-integer" = 1024,
    /// Bytes of the name of a class or function in a pickle.
    pickle_name: "pickle-name" = 1024,
    /// Mentions of classes and functions in a pickle.
    pickle_names: "pickle-names" = 10_000,
    /// Bytes for names and shapes of the tensors of a checkpoint, beside 32 for each byte of its pickle.
    torch_names: "torch-names" = 16 << 20,
    /// Tensors, and storages, of a checkpoint that is a tar.
    torch_items: "torch-items" = 1 << 20,
    /// Bytes of the header of an array of NumPy.
    npy_header: "npy-header" = 64 << 10,
    /// Messages of an ONNX model, of a graph or a SavedModel of TensorFlow.
    protobuf_messages: "protobuf-messages" = 4 << 20,
    /// Bytes of a field of such a message that is read whole: weights are not.
    protobuf_field: "protobuf-field" = 256 << 20,
    /// Bytes of an inflated block of a checkpoint of TensorFlow, which is held in memory.
    tensorflow_block: "tensorflow-block" = 256 << 20,
    /// Bytes of a key of a checkpoint of TensorFlow.
    tensorflow_key: "tensorflow-key" = 64 << 10,
    /// Tensors, and operators, of a TensorFlow Lite model.
    tflite_tables: "tflite-tables" = 1 << 20,
    /// Bytes of a name in a TensorFlow Lite model.
    tflite_name: "tflite-name" = 64 << 10,
    /// Inputs, and outputs, of an operator of a TensorFlow Lite model.
    tflite_inputs: "tflite-inputs" = 1 << 16,
    /// Values of a MessagePack file. Each array is two, with its name.
    msgpack_values: "msgpack-values" = 1 << 20,
    /// Bytes of a text in a MessagePack file.
    msgpack_text: "msgpack-text" = 64 << 10,
    /// Links of all groups of an HDF5 file.
    hdf5_objects: "hdf5-objects" = 10_000_000,
    /// Groups within groups of an HDF5 file.
    hdf5_depth: "hdf5-depth" = 64,
    /// Bytes of one structure of an HDF5 file: a header, a heap, a node.
    hdf5_block: "hdf5-block" = 64 << 20,
    /// Bytes of a chunk of an HDF5 dataset, which is held in memory while it is used.
    hdf5_chunk: "hdf5-chunk" = 256 << 20,
    /// Chunks of an HDF5 dataset.
    hdf5_chunks: "hdf5-chunks" = 1 << 24,
    /// Bytes of a deflated part of a file, which is held in memory while it is used.
    inflated: "inflated" = 4 << 30,
    /// Bytes of a file that is deflated within another one, which is held in memory.
    inflated_file: "inflated-file" = 128 << 20,
    /// Bytes of a tensor that a file states with fewer: repeated, sparse, or never written.
    expanded: "expanded" = 1 << 30,
    /// Elements of one value of a graph that is run.
    graph_elements: "graph-elements" = 1 << 30,
    /// Nodes of a graph that are run, those of a loop once for each turn.
    graph_steps: "graph-steps" = 100_000_000,
    /// Nodes of a graph that is to be run, those of a function once for each use.
    graph_nodes: "graph-nodes" = 4 << 20,
    /// Shards of one model.
    shards: "shards" = 100_000,
}

impl Limits {
    /// Sets the limit that `--limit` calls `name`.
    ///
    /// # Errors
    /// Usage, naming those that exist with what they are unless set.
    pub fn set(&mut self, name: &str, value: u64) -> Result<()> {
        let Some(row) = row(name) else {
            let mut defaults = Self::default();
            let known =
                LIMITS.iter().map(|row| format!("{}={}", row.name, (row.place)(&mut defaults)));
            let known: Vec<String> = known.collect();
            return Err(Error::usage(format!("--limit {name}: there are {}", known.join(", "))));
        };
        *(row.place)(self) = value;
        Ok(())
    }
}

fn row(name: &str) -> Option<&'static Row> {
    LIMITS.iter().find(|row| row.name == name)
}

/// What to do about the limit of this name; a text that names none of them is what it is. Readers
/// of containers know no command line, and name limits or say what fixes them.
pub(super) fn raise(name: &'static str) -> &'static str {
    row(name).map_or(name, |row| row.raise)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each name sets another limit, and the guide says what it is unless set.
    #[test]
    fn every_limit_has_a_name_and_is_documented() {
        let guide = include_str!("../../docs/guide.md");
        for Row { name, place, .. } in LIMITS {
            let mut limits = Limits::default();
            let default = *place(&mut limits);
            limits.set(name, 77).unwrap();
            let changed = LIMITS.iter().filter(|row| *(row.place)(&mut limits) == 77).count();
            assert_eq!(changed, 1, "{name}");
            let row = format!("| `{name}` | {default} |");
            assert!(guide.contains(&row), "docs/guide.md lacks: {row}");
        }
        let error = Limits::default().set("nope", 1).unwrap_err().to_string();
        assert!(
            error.contains("side-file=268435456, ") && error.contains("graph-steps="),
            "{error}"
        );
    }
}
