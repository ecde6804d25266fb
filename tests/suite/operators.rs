//! Operators of graphs against what ONNX says they give: the node tests of its backend suite, some
//! of them in fixtures/onnx-node, all of them in `$REMOLD_CORPORA/onnx-node` or in `corpora`
//! beside this project. docs/onnx-operators.md is written here (`BLESS=1`).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;
use remold::ir::graph::{Attribute, Constant, Given, Kind, Node, Port, Program};
use remold::ir::{Access, Blob, Limits, Model, Notes, Result, Tensor};
use remold::read::onnx;
use remold::run::graph::{Array, Bounds, Data, Session, Type, Value, operators};
use remold::store::Files;

/// Outputs that the standard leaves to chance: their types and shapes are judged.
const RANDOM: &[&str] = &["test_bernoulli", "test_training_dropout"];

/// What the suite allows: |a − b| ≤ atol + rtol · |b|.
const RTOL: f64 = 1e-3;
const ATOL: f64 = 1e-7;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn value(path: &Path, kind: &Kind) -> Result<Value> {
    let blob = Arc::new(Blob::open(path, Access::Read)?);
    Value::given(&onnx::file_value(&blob, kind)?)
}

/// The cases below a directory, by name.
fn cases(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a directory of cases");
    let dirs = entries.map(|entry| entry.expect("an entry").path());
    let mut dirs: Vec<PathBuf> = dirs.filter(|path| path.join("model.onnx").is_file()).collect();
    dirs.sort();
    dirs
}

fn name(case: &Path) -> String {
    case.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Runs a case on each of its data sets; what differs, if anything.
fn judge(case: &Path) -> std::result::Result<usize, String> {
    let text = |error: remold::ir::Error| error.to_string();
    let source = Files::open(&case.join("model.onnx"), Access::Read).map_err(text)?;
    let model = onnx::read(&source, &Limits::default(), &mut Notes::default()).map_err(text)?;
    let program = model.graph.as_ref().expect("a graph");
    let session = Session::new(program, &model.tensors, Bounds::default()).map_err(text)?;
    let mut sets = 0;
    while case.join(format!("test_data_set_{sets}")).is_dir() {
        let set = case.join(format!("test_data_set_{sets}"));
        let mut given = IndexMap::new();
        for (index, port) in program.graph.inputs.iter().enumerate() {
            let path = set.join(format!("input_{index}.pb"));
            if path.is_file() {
                given.insert(port.name.clone(), value(&path, &port.kind).map_err(text)?);
            }
        }
        let made = session.run(given).map_err(text)?;
        for (index, port) in program.graph.outputs.iter().enumerate() {
            let expected = value(&set.join(format!("output_{index}.pb")), &port.kind);
            let expected = expected.map_err(text)?;
            let by_chance = RANDOM.iter().any(|random| name(case).starts_with(random));
            same(&made[&port.name], &expected, by_chance)
                .map_err(|error| format!("{}: {error}", port.name))?;
        }
        sets += 1;
    }
    Ok(sets)
}

fn same(found: &Value, expected: &Value, by_chance: bool) -> std::result::Result<(), String> {
    match (found, expected) {
        (Value::Tensor(found), Value::Tensor(expected)) => alike(found, expected, by_chance),
        (Value::Sequence(found), Value::Sequence(expected)) if found.len() == expected.len() => {
            found.iter().zip(expected.iter()).try_for_each(|(a, b)| same(a, b, by_chance))
        }
        (Value::Nothing, Value::Nothing) => Ok(()),
        _ => Err(format!("found {}, expected {}", found.describe(), expected.describe())),
    }
}

fn alike(found: &Array, expected: &Array, by_chance: bool) -> std::result::Result<(), String> {
    if found.shape() != expected.shape() || found.dtype() != expected.dtype() {
        let (a, b) = (Value::from(found.clone()), Value::from(expected.clone()));
        return Err(format!("found {}, expected {}", a.describe(), b.describe()));
    }
    if by_chance {
        return Ok(());
    }
    let exact = !matches!(expected.dtype(), Type::F64 | Type::F32 | Type::F16 | Type::BF16);
    if exact && !matches!(expected.data(), Data::Small(..)) {
        return match found == expected {
            true => Ok(()),
            false => Err(format!("found {:?}, expected {:?}", found.data(), expected.data())),
        };
    }
    let (a, b) = (found.numbers().expect("numbers"), expected.numbers().expect("numbers"));
    for (i, (a, b)) in a.iter().zip(&b).enumerate() {
        let near = (a - b).abs() <= ATOL + RTOL * b.abs();
        if !(near || a == b || (a.is_nan() && b.is_nan())) {
            return Err(format!("element {i}: found {a}, expected {b}"));
        }
    }
    Ok(())
}

#[test]
fn selected_cases_pass() {
    let cases = cases(&root().join("fixtures/onnx-node"));
    assert!(cases.len() >= 40, "only {} cases were seen", cases.len());
    for case in cases {
        match judge(&case) {
            Ok(sets) => assert!(sets > 0, "{}: no data", name(&case)),
            Err(error) => panic!("{}: {error}", name(&case)),
        }
    }
}

/// Why cases do not pass, one line each.
fn failures(folder: &Path) -> (usize, BTreeMap<String, String>) {
    let only = std::env::var("REMOLD_CASE").unwrap_or_default();
    let (mut passed, mut failed) = (0, BTreeMap::new());
    for case in cases(folder).iter().filter(|case| name(case).contains(&only)) {
        let judged = std::panic::catch_unwind(|| judge(case));
        match judged.unwrap_or_else(|_| Err("PANIC".to_owned())) {
            Ok(sets) => passed += usize::from(sets > 0),
            Err(error) => {
                failed.insert(name(case), error);
            }
        }
    }
    (passed, failed)
}

#[test]
fn the_backend_suite_passes() {
    let Some(folder) = testing::corpus("onnx-node") else { return };
    let (passed, failed) = failures(&folder);
    for (case, error) in &failed {
        eprintln!("{case}: {}", error.chars().take(600).collect::<String>());
    }
    if std::env::var_os("REMOLD_CASE").is_some() {
        return;
    }
    let total = passed + failed.len();
    assert!(total >= 945, "only {total} cases were seen");
    let share = passed as f64 / total as f64;
    assert!(share >= 0.97, "{passed} of {total} pass");
    assert!(failed.values().all(|error| error != "PANIC"), "a case made the program panic");
    let mut text = format!(
        "\n## Cases that do not pass\n\n{passed} of {total} cases of the suite pass. The others:\n\n"
    );
    for (case, error) in &failed {
        let error: String = error.chars().take(300).collect();
        let _ = writeln!(text, "- `{case}`: {error}");
    }
    document("## Cases that do not pass", text.trim_start());
}

/// Holds the part of the document that begins with a heading to what it should say.
fn document(heading: &str, expected: &str) {
    let path = root().join("docs/onnx-operators.md");
    let text = std::fs::read_to_string(&path).expect("docs/onnx-operators.md");
    let start = text.find(heading).expect("the heading stands in the document");
    let end = text[start + 2..].find("\n## ").map_or(text.len(), |end| start + 2 + end + 1);
    let expected = format!("{}\n", expected.trim_end());
    let found = format!("{}\n", text[start..end].trim_end());
    if found != expected && std::env::var_os("BLESS").is_some() {
        let rest = if end < text.len() { format!("\n{}", &text[end..]) } else { String::new() };
        std::fs::write(&path, format!("{}{expected}{rest}", &text[..start])).expect("written");
        return;
    }
    assert_eq!(found, expected, "docs/onnx-operators.md is not of today: BLESS=1 writes it");
}

#[test]
fn the_list_of_operators_is_of_today() {
    let mut by_domain: BTreeMap<&str, BTreeMap<&str, Vec<u64>>> = BTreeMap::new();
    for row in operators::all() {
        let names = by_domain.entry(row.domain).or_default();
        names.entry(row.name).or_default().push(row.since);
    }
    let mut text = "## Operators\n".to_owned();
    for (domain, names) in by_domain {
        let shown = if domain.is_empty() { "ai.onnx" } else { domain };
        let _ = writeln!(text, "\n### {shown} ({})\n", names.len());
        let items = names.into_iter().map(|(name, mut since)| {
            since.sort_unstable();
            let since: Vec<String> = since.iter().map(u64::to_string).collect();
            format!("{name} ({})", since.join(", "))
        });
        let _ = writeln!(text, "{}", items.collect::<Vec<_>>().join(" · "));
    }
    document("## Operators", &text);
}

/// Attributes as a hostile file has them.
fn mangled(attribute: &Attribute) -> Vec<Attribute> {
    let ints = [i64::MIN, -1, 0, 1, 7, 1 << 40, i64::MAX];
    match attribute {
        Attribute::Int(_) => ints.iter().map(|x| Attribute::Int(*x)).collect(),
        Attribute::Float(_) => [f32::NAN, -1.0, 0.0, f32::INFINITY].map(Attribute::Float).to_vec(),
        Attribute::Ints(list) => {
            let all = ints.iter().map(|x| Attribute::Ints(vec![*x; list.len()]));
            all.chain([Attribute::Ints(vec![]), Attribute::Ints(vec![1; 9])]).collect()
        }
        _ => vec![Attribute::Text(b"?".to_vec()), Attribute::Ints(vec![3])],
    }
}

/// Values as a hostile caller has them.
fn odd_values() -> Vec<Value> {
    let float = |shape: &[usize]| {
        let count = shape.iter().product();
        Value::from(Array::of(shape.to_vec(), vec![f32::NAN; count]).expect("as many"))
    };
    let ints = |x: i64| Value::from(Array::vector(vec![x; 3]));
    vec![
        float(&[]),
        float(&[0]),
        float(&[2, 0, 3]),
        float(&[1, 1, 1, 1, 1, 2]),
        ints(i64::MIN),
        ints(i64::MAX),
        ints(-1),
        Value::from(Array::scalar(i64::MAX)),
        Value::from(Array::scalar(true)),
        Value::from(Array::vector(vec!["a".to_owned()])),
        Value::Sequence(Arc::new(Vec::new())),
        Value::Nothing,
    ]
}

/// A program, the weights that it names, and inputs for it.
struct Case {
    name: String,
    program: Program,
    tensors: IndexMap<String, Tensor>,
    given: IndexMap<String, Value>,
}

impl Case {
    /// A case of the suite.
    fn stored(case: &Path) -> Self {
        let source = Files::open(&case.join("model.onnx"), Access::Read).expect("a model");
        let model =
            onnx::read(&source, &Limits::default(), &mut Notes::default()).expect("a model");
        let program = model.graph.as_deref().expect("a graph").clone();
        let set = case.join("test_data_set_0");
        let mut given = IndexMap::new();
        for (index, port) in program.graph.inputs.iter().enumerate() {
            if let Ok(value) = value(&set.join(format!("input_{index}.pb")), &port.kind) {
                given.insert(port.name.clone(), value);
            }
        }
        Self { name: name(case), program, tensors: model.tensors, given }
    }

    /// One node of a graph by itself: its inputs are given what the initializers are.
    fn alone(model: &Model, node: &Node) -> Self {
        let mut program = model.graph.as_deref().expect("a graph").clone();
        program.graph.nodes = vec![node.clone()];
        program.graph.outputs.retain(|port| node.outputs.contains(&port.name));
        let given: IndexMap<String, Value> = node
            .inputs
            .iter()
            .filter(|name| !name.is_empty())
            .map(|name| (name.clone(), constant(model, name).expect("an initializer")))
            .collect();
        let port = |name: &String| Port { name: name.clone(), kind: Kind::Unknown, span: None };
        program.graph.inputs = given.keys().map(port).collect();
        program.graph.initializers.clear();
        Self { name: node.name.clone(), program, tensors: model.tensors.clone(), given }
    }

    fn run(&self, bounds: Bounds) -> Result<IndexMap<String, Value>> {
        let session = Session::new(&self.program, &self.tensors, bounds);
        session.and_then(|session| session.run(self.given.clone()))
    }

    /// Runs with each attribute and each input in turn made strange: errors are fine, and so are
    /// values. How many runs there were, and what made the program panic.
    fn mangled(&mut self) -> (usize, Vec<String>) {
        let mut panicked = Vec::new();
        let mut runs = 0;
        let mut run = |case: &Self, what: String| {
            let bounds = Bounds { elements: 1 << 20, steps: 2000, ..Bounds::default() };
            let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| case.run(bounds)));
            runs += 1;
            panicked.extend(ran.is_err().then(|| format!("{}: {what}", case.name)));
        };
        for index in 0..self.program.graph.nodes.len() {
            for (key, attribute) in self.program.graph.nodes[index].attributes.clone() {
                for odd in mangled(&attribute) {
                    let what = format!("{key} = {odd:?}");
                    self.program.graph.nodes[index].attributes.insert(key.clone(), odd);
                    run(self, what);
                }
                self.program.graph.nodes[index].attributes.insert(key, attribute);
            }
        }
        for (key, value) in self.given.clone() {
            for odd in odd_values() {
                let what = format!("{key} = {}", odd.describe());
                self.given.insert(key.clone(), odd);
                run(self, what);
            }
            self.given.insert(key, value);
        }
        (runs, panicked)
    }
}

/// The value of an initializer, if there is one of this name.
fn constant(model: &Model, name: &str) -> Option<Value> {
    let program = model.graph.as_deref().expect("a graph");
    let given = match program.graph.initializers.get(name)? {
        Constant::Weight(name) => Given::Tensor(model.tensors[name].clone()),
        Constant::Text { shape, values } => {
            Given::Text { shape: shape.clone(), values: values.clone() }
        }
    };
    Some(Value::given(&given).expect("a value"))
}

/// The models of fixtures/onnx-runtime: each node is a case by itself.
fn beyond() -> Vec<Model> {
    let folder = root().join("fixtures/onnx-runtime");
    let entries = std::fs::read_dir(folder).expect("a directory of models");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let read = |path: PathBuf| {
        let source = Files::open(&path, Access::Read).expect("a model");
        onnx::read(&source, &Limits::default(), &mut Notes::default()).expect("a model")
    };
    paths.map(read).collect()
}

/// What differs from the initializers that say what is expected.
fn differs(model: &Model, case: &Case) -> std::result::Result<(), String> {
    let made = case.run(Bounds::default()).map_err(|error| error.to_string())?;
    for (output, found) in &made {
        let mut parts = vec![(output.clone(), found.clone())];
        if let Value::Sequence(maps) = found {
            parts.clear();
            for (i, map) in maps.iter().enumerate() {
                let Value::Map(map) = map else { return Err(format!("{output}: no maps")) };
                parts.push((format!("{output}.{i}.keys"), map.0.clone().into()));
                parts.push((format!("{output}.{i}.values"), map.1.clone().into()));
            }
        }
        for (name, found) in parts {
            let expected = constant(model, &format!("{name}.expected")).expect("what is expected");
            same(&judged(found, &expected), &expected, false)
                .map_err(|error| format!("{name}: {error}"))?;
        }
    }
    Ok(())
}

/// What was found, but NaN where nothing is expected.
fn judged(found: Value, expected: &Value) -> Value {
    let (Value::Tensor(array), Value::Tensor(expected)) = (&found, expected) else { return found };
    match (array.slice::<f32>(), expected.slice::<f32>()) {
        (Ok(values), Ok(wanted)) if wanted.iter().any(|x| x.is_nan()) => {
            let values = values.iter().zip(wanted);
            let values = values.map(|(x, y)| if y.is_nan() { f32::NAN } else { *x }).collect();
            Array::of(array.shape().to_vec(), values).expect("as many").into()
        }
        _ => found,
    }
}

#[test]
fn operators_beyond_the_suite_give_what_onnxruntime_gives() {
    let (mut seen, mut failed) = (0, Vec::new());
    for model in beyond() {
        for node in &model.graph.as_deref().expect("a graph").graph.nodes {
            seen += 1;
            if let Err(error) = differs(&model, &Case::alone(&model, node)) {
                failed.push(format!(
                    "{}: {}",
                    node.name,
                    error.chars().take(300).collect::<String>()
                ));
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(seen, 120);
}

/// Mangles cases; how many runs there were.
fn survive(cases: impl Iterator<Item = Case>) -> usize {
    let (mut runs, mut panicked) = (0, Vec::new());
    for mut case in cases {
        let (count, what) = case.mangled();
        runs += count;
        panicked.extend(what);
    }
    assert!(panicked.is_empty(), "{panicked:#?}");
    runs
}

#[test]
fn malformed_nodes_beyond_the_suite_are_errors() {
    let models = beyond();
    let cases = models.iter().flat_map(|model| {
        let nodes = &model.graph.as_deref().expect("a graph").graph.nodes;
        nodes.iter().map(move |node| Case::alone(model, node))
    });
    let runs = survive(cases);
    assert!(runs > 5000, "only {runs} runs");
}

#[test]
fn malformed_nodes_are_errors() {
    let cases = cases(&root().join("fixtures/onnx-node"));
    let runs = survive(cases.iter().map(|case| Case::stored(case)));
    assert!(runs > 1000, "only {runs} runs");
}

/// All of the suite, for whoever has some minutes.
#[test]
#[ignore = "minutes: scripts/operators.sh runs it"]
fn malformed_nodes_of_the_suite_are_errors() {
    let Some(folder) = testing::corpus("onnx-node") else { return };
    let only = std::env::var("REMOLD_CASE").unwrap_or_default();
    let all = cases(&folder);
    let chosen = all.iter().filter(|case| name(case).contains(&only));
    assert!(survive(chosen.map(|case| Case::stored(case))) > 0, "no case is called {only}");
}
