//! The names that a pickle may mention, as whole names, and what each stands for.
//!
//! A global is never imported or called: it selects one of the meanings below, or it is foreign.
//! Names that could only serve to run code are refused wherever they stand, because a file that
//! mentions one was made to be unpickled by somebody.

use crate::dtype::Element;

/// What a global stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// `collections.OrderedDict`, `dict`: a dictionary.
    Dict,
    /// `collections.defaultdict`: a dictionary whose first argument is a class.
    DefaultDict,
    /// `list`, `set`, `torch.Size` …: a row of values, given as one argument.
    Row,
    /// A class whose instances are mere data.
    Data,
    /// A class of a TorchScript archive; its state is data.
    Script,
    /// A helper of the TorchScript pickler that answers its first argument.
    Same,
    /// `torch.Tensor`, `torch.nn.parameter.Parameter`.
    TensorClass,
    /// A class of storages.
    Storage(Element),
    /// A `torch.dtype`.
    Dtype(Element),
    /// A function that makes a tensor.
    Rebuild(Rebuild),
    /// A function that makes a tensor of a kind that is not read; the text names the kind.
    Unread(&'static str),
    /// Not known here.
    Foreign,
}

/// The functions by which torch says what a tensor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rebuild {
    /// `(storage, offset, size, stride, …)`
    Tensor,
    /// `(storage, offset, size, stride, requires_grad, hooks, dtype, …)`
    TensorOfDtype,
    /// `(tensor, …)`
    Parameter,
    /// `(function, class, arguments, state)`
    FromType,
}

#[rustfmt::skip]
const KNOWN: &[(&str, &str, Meaning)] = &[
    ("collections",         "OrderedDict",                    Meaning::Dict),
    ("collections",         "defaultdict",                    Meaning::DefaultDict),
    ("collections",         "Counter",                        Meaning::Dict),
    ("builtins",            "dict",                           Meaning::Dict),
    ("builtins",            "list",                           Meaning::Row),
    ("builtins",            "tuple",                          Meaning::Row),
    ("builtins",            "set",                            Meaning::Row),
    ("builtins",            "frozenset",                      Meaning::Row),
    ("builtins",            "bytearray",                      Meaning::Data),
    ("builtins",            "bytes",                          Meaning::Data),
    ("builtins",            "complex",                        Meaning::Data),
    ("builtins",            "slice",                          Meaning::Data),
    ("builtins",            "range",                          Meaning::Data),
    ("builtins",            "int",                            Meaning::Data),
    ("builtins",            "float",                          Meaning::Data),
    ("builtins",            "bool",                           Meaning::Data),
    ("builtins",            "str",                            Meaning::Data),
    ("builtins",            "object",                         Meaning::Data),
    ("argparse",            "Namespace",                      Meaning::Data),
    // How protocol 2 writes bytes: the text and 'latin1'.
    ("_codecs",             "encode",                         Meaning::Data),
    ("numpy",               "dtype",                          Meaning::Data),
    ("numpy.core.multiarray",  "scalar",                      Meaning::Data),
    ("numpy._core.multiarray", "scalar",                      Meaning::Data),
    ("torch",               "Size",                           Meaning::Row),
    ("torch",               "device",                         Meaning::Data),
    ("torch",               "layout",                         Meaning::Data),
    ("torch",               "strided",                        Meaning::Data),
    ("torch",               "per_tensor_affine",              Meaning::Data),
    ("torch",               "per_channel_affine",             Meaning::Data),
    ("torch",               "per_channel_affine_float_qparams", Meaning::Data),
    ("torch.serialization", "_get_layout",                    Meaning::Data),
    ("torch",               "Tensor",                         Meaning::TensorClass),
    ("torch._tensor",       "Tensor",                         Meaning::TensorClass),
    ("torch.nn.parameter",  "Parameter",                      Meaning::TensorClass),
    ("torch.nn.parameter",  "Buffer",                         Meaning::TensorClass),
    ("torch._utils",        "_rebuild_tensor",                Meaning::Rebuild(Rebuild::Tensor)),
    ("torch._utils",        "_rebuild_tensor_v2",             Meaning::Rebuild(Rebuild::Tensor)),
    ("torch._utils",        "_rebuild_tensor_v3",             Meaning::Rebuild(Rebuild::TensorOfDtype)),
    ("torch._utils",        "_rebuild_parameter",             Meaning::Rebuild(Rebuild::Parameter)),
    ("torch._utils",        "_rebuild_parameter_with_state",  Meaning::Rebuild(Rebuild::Parameter)),
    ("torch._tensor",       "_rebuild_from_type_v2",          Meaning::Rebuild(Rebuild::FromType)),
    ("torch._utils",        "_rebuild_sparse_tensor",         Meaning::Unread("a sparse tensor")),
    ("torch._utils",        "_rebuild_sparse_csr_tensor",     Meaning::Unread("a sparse tensor")),
    ("torch._utils",        "_rebuild_qtensor",               Meaning::Unread("a quantized tensor")),
    ("torch._utils",        "_rebuild_nested_tensor",         Meaning::Unread("a nested tensor")),
    ("torch._utils",        "_rebuild_meta_tensor_no_storage", Meaning::Unread("a meta tensor, which has no values")),
    ("torch._utils",        "_rebuild_device_tensor_from_numpy", Meaning::Unread("a tensor of another device, kept as a NumPy array")),
    ("torch._utils",        "_rebuild_device_tensor_from_cpu_tensor", Meaning::Unread("a tensor of another device")),
    ("torch._utils",        "_rebuild_wrapper_subclass",      Meaning::Unread("a tensor of a subclass")),
    ("torch.storage",       "_load_from_bytes",               Meaning::Unread("a tensor kept as a pickle within the pickle")),
    ("torch.jit._pickle",   "build_intlist",                  Meaning::Same),
    ("torch.jit._pickle",   "build_doublelist",               Meaning::Same),
    ("torch.jit._pickle",   "build_boollist",                 Meaning::Same),
    ("torch.jit._pickle",   "build_tensorlist",               Meaning::Same),
    ("torch.jit._pickle",   "restore_type_tag",               Meaning::Same),
];

/// Modules that no checkpoint needs and that give whoever imports them the machine. A name below
/// one of them counts as well, and so does one that reaches it by a dotted name.
#[rustfmt::skip]
const DANGEROUS: &[&str] = &[
    "os", "posix", "nt", "posixpath", "ntpath", "sys", "subprocess", "_posixsubprocess", "runpy",
    "importlib", "imp", "_imp", "socket", "_socket", "ssl", "shutil", "pty", "webbrowser",
    "commands", "popen2", "pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib",
    "marshal", "types", "code", "codeop", "pdb", "bdb", "cProfile", "profile", "timeit", "trace",
    "doctest", "ctypes", "_ctypes", "multiprocessing", "threading", "_thread", "asyncio", "signal",
    "http", "httplib", "urllib", "urllib2", "requests", "aiohttp", "ftplib", "smtplib",
    "telnetlib", "xmlrpc", "socketserver", "pip", "setuptools", "distutils", "ensurepip", "venv",
    "pydoc", "idlelib", "zipimport", "pkgutil", "ast", "gc", "nturl2path", "lib2to3", "rlcompleter",
    "linecache", "tempfile", "atexit", "faulthandler", "mmap",
];

/// Functions of modules that are harmless otherwise: they load, compile or call what they are
/// given. The name is the begin of one.
#[rustfmt::skip]
const RUNNERS: &[(&str, &str)] = &[
    ("operator",                               "attrgetter"),
    ("operator",                               "methodcaller"),
    ("_operator",                              "attrgetter"),
    ("_operator",                              "methodcaller"),
    ("logging.config",                         ""),
    ("numpy.f2py",                             ""),
    ("numpy.f2py.crackfortran",                ""),
    ("numpy.testing._private.utils",           ""),
    ("torch",                                  "load"),
    ("torch.serialization",                    "load"),
    ("torch.hub",                              ""),
    ("torch.package",                          ""),
    ("torch._dynamo.guards",                   ""),
    ("torch._inductor.codecache",              ""),
    ("torch.fx.experimental.symbolic_shapes",  "ShapeEnv.evaluate"),
    ("torch.jit.unsupported_tensor_ops",       ""),
    ("torch.utils._config_module",             ""),
    ("torch.utils.bottleneck.__main__",        ""),
    ("torch.utils.collect_env",                ""),
    ("torch.utils.cpp_extension",              ""),
    ("torch.utils.data.datapipes.utils.decoder", ""),
];

/// The meaning of a name, or the reason why no file may mention it.
pub(crate) fn meaning(module: &str, name: &str) -> Result<Meaning, &'static str> {
    // Python 2 wrote its built-in names under this module.
    let module = if module == "__builtin__" { "builtins" } else { module };
    let module = if module == "torch.cuda" && name.ends_with("Storage") { "torch" } else { module };
    if let Some(row) = KNOWN.iter().find(|row| row.0 == module && row.1 == name) {
        return Ok(row.2);
    }
    let first = module.split('.').next().unwrap_or_default();
    if first == "builtins" {
        return Err("a built-in function that can run code");
    }
    let runs = |row: &&(&str, &str)| row.0 == module && name.starts_with(row.1);
    if DANGEROUS.contains(&first)
        || RUNNERS.iter().any(|row| runs(&row))
        || name.split('.').rev().skip(1).any(dangerous)
    {
        return Err("a name that can run code");
    }
    if first == "__torch__" {
        return Ok(Meaning::Script);
    }
    let torch = matches!(module, "torch" | "torch.storage");
    let storage = Element::of_storage(name).filter(|_| torch).map(Meaning::Storage);
    let dtype = || Element::of_dtype(name).filter(|_| module == "torch").map(Meaning::Dtype);
    Ok(storage.or_else(dtype).unwrap_or(Meaning::Foreign))
}

fn dangerous(part: &str) -> bool {
    DANGEROUS.contains(&part) || part == "builtins" || part.starts_with("__")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::Dtype;

    #[test]
    fn whole_names_only() {
        let storage = |dtype| Ok(Meaning::Storage(Element::Known(dtype)));
        assert_eq!(meaning("torch", "FloatStorage"), storage(Dtype::F32));
        assert_eq!(meaning("torch.cuda", "HalfStorage"), storage(Dtype::F16));
        assert_eq!(meaning("torch", "FloatStorage.x"), Ok(Meaning::Foreign));
        assert_eq!(meaning("mytorch", "FloatStorage"), Ok(Meaning::Foreign));
        assert_eq!(meaning("torch", "float32"), Ok(Meaning::Dtype(Element::Known(Dtype::F32))));
        assert_eq!(meaning("torch", ""), Ok(Meaning::Foreign));
        assert_eq!(meaning("__builtin__", "set"), Ok(Meaning::Row));
    }

    #[test]
    fn names_that_run_code() {
        let names = [
            ("os", "system"),
            ("os.path", "join"),
            ("builtins", "eval"),
            ("__builtin__", "getattr"),
            ("torch.serialization", "os.system"),
            ("torch", "a.__globals__.x"),
            ("torch.serialization", "load"),
            ("torch.hub", "load_state_dict_from_url"),
            ("operator", "attrgetter"),
        ];
        for (module, name) in names {
            assert!(meaning(module, name).is_err(), "{module}.{name}");
        }
        assert_eq!(meaning("torch.nn.modules.linear", "Linear"), Ok(Meaning::Foreign));
    }
}
