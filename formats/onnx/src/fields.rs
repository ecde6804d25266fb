//! The numbers of fields, by message, as the specification gives them.

#![allow(missing_docs, reason = "the names are the specification's")]

macro_rules! fields {
    ($($(#[$about:meta])* $module:ident { $($name:ident $number:literal),* $(,)? })*) => {
        $($(#[$about])* pub mod $module { $(pub const $name: u64 = $number;)* })*
    };
}

#[rustfmt::skip]
fields! {
    /// `ModelProto`.
    model {
        IR_VERSION 1, PRODUCER_NAME 2, PRODUCER_VERSION 3, DOMAIN 4, MODEL_VERSION 5, DOC_STRING 6,
        GRAPH 7, OPSET_IMPORT 8, METADATA_PROPS 14, TRAINING_INFO 20, FUNCTIONS 25,
    }
    /// `OperatorSetIdProto`.
    operator_set { DOMAIN 1, VERSION 2 }
    /// `TrainingInfoProto`.
    training { INITIALIZATION 1, ALGORITHM 2 }
    /// `FunctionProto`.
    function {
        NAME 1, INPUT 4, OUTPUT 5, ATTRIBUTE 6, NODE 7, OPSET_IMPORT 9, DOMAIN 10,
        ATTRIBUTE_PROTO 11, OVERLOAD 13,
    }
    /// `GraphProto`.
    graph {
        NODE 1, NAME 2, INITIALIZER 5, INPUT 11, OUTPUT 12, VALUE_INFO 13, SPARSE_INITIALIZER 15,
    }
    /// `NodeProto`.
    node { INPUT 1, OUTPUT 2, NAME 3, OP_TYPE 4, ATTRIBUTE 5, DOMAIN 7, OVERLOAD 8 }
    /// `AttributeProto`.
    attribute {
        NAME 1, F 2, I 3, S 4, T 5, G 6, FLOATS 7, INTS 8, STRINGS 9, TENSORS 10, GRAPHS 11, TP 14,
        TYPE_PROTOS 15, TYPE 20, REF_ATTR_NAME 21, SPARSE_TENSOR 22, SPARSE_TENSORS 23,
    }
    /// `TensorProto`.
    tensor {
        DIMS 1, DATA_TYPE 2, SEGMENT 3, FLOAT_DATA 4, INT32_DATA 5, STRING_DATA 6, INT64_DATA 7,
        NAME 8, RAW_DATA 9, DOUBLE_DATA 10, UINT64_DATA 11, EXTERNAL_DATA 13, DATA_LOCATION 14,
    }
    /// `SparseTensorProto`.
    sparse { VALUES 1, INDICES 2, DIMS 3 }
    /// `StringStringEntryProto`.
    entry { KEY 1, VALUE 2 }
    /// `ValueInfoProto`.
    value { NAME 1, TYPE 2 }
    /// `TypeProto`.
    kind { TENSOR 1, SEQUENCE 4, MAP 5, OPAQUE 7, SPARSE_TENSOR 8, OPTIONAL 9 }
    /// `TypeProto.Tensor`, `.Sequence`, `.Optional` and `.Map`.
    inner { ELEM_TYPE 1, SHAPE 2, KEY_TYPE 1, VALUE_TYPE 2 }
    /// `TensorShapeProto` and its `Dimension`.
    shape { DIM 1, DIM_VALUE 1, DIM_PARAM 2 }
    /// `SequenceProto` and `OptionalProto` of `onnx-data.proto`.
    stored { TENSOR 3, SPARSE_TENSOR 4, SEQUENCE 5, MAP 6, OPTIONAL 7 }
}
