//! The filters, tests and methods that templates have, each with what it may cost.

use minijinja::value::{Rest, Value};
use minijinja::{Environment, Error, ErrorKind, State, filters, functions, tests};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::meter::{ELEMENT, Purse, Result, outer};
use super::to_json;

/// What a call costs before it is made; its result is settled and paid for after.
#[derive(Clone, Copy)]
enum Cost {
    /// The same for every value.
    Little,
    /// The text, if it is one.
    Text,
    /// The text, or the elements, of each argument.
    Outer,
    /// All that is in each argument.
    Whole,
    /// The elements of a list that is made, of text if need be.
    Elements,
    /// A separator between all elements.
    Join,
    /// Each place that is replaced.
    Replace,
    /// An indent for each line.
    Indent,
    /// The text, cut at each place.
    Split,
    /// As wide as the format says.
    Format,
}

/// A filter of the engine, and its cost.
struct Filter(&'static str, Value, Cost);

fn known() -> Vec<Filter> {
    use Cost as C;
    let f = Filter;
    vec![
        f("abs", Value::from_function(filters::abs), C::Little),
        f("attr", Value::from_function(filters::attr), C::Little),
        f("bool", Value::from_function(filters::bool), C::Little),
        f("capitalize", Value::from_function(filters::capitalize), C::Outer),
        f("count", Value::from_function(filters::length), C::Text),
        f("d", Value::from_function(filters::default), C::Little),
        f("default", Value::from_function(filters::default), C::Little),
        f("dictsort", Value::from_function(filters::dictsort), C::Whole),
        f("e", Value::from_function(filters::escape), C::Whole),
        f("escape", Value::from_function(filters::escape), C::Whole),
        f("first", Value::from_function(filters::first), C::Little),
        f("float", Value::from_function(filters::float), C::Outer),
        f("format", Value::from_function(filters::format), C::Format),
        f("groupby", Value::from_function(filters::groupby), C::Whole),
        f("indent", Value::from_function(filters::indent), C::Indent),
        f("int", Value::from_function(filters::int), C::Outer),
        f("items", Value::from_function(filters::items), C::Elements),
        f("join", Value::from_function(filters::join), C::Join),
        f("last", Value::from_function(filters::last), C::Outer),
        f("length", Value::from_function(filters::length), C::Text),
        f("lines", Value::from_function(filters::lines), C::Elements),
        f("list", Value::from_function(filters::list), C::Elements),
        f("lower", Value::from_function(filters::lower), C::Outer),
        f("map", Value::from_function(filters::map), C::Elements),
        f("max", Value::from_function(filters::max), C::Whole),
        f("min", Value::from_function(filters::min), C::Whole),
        f("reject", Value::from_function(filters::reject), C::Elements),
        f("rejectattr", Value::from_function(filters::rejectattr), C::Elements),
        f("replace", Value::from_function(filters::replace), C::Replace),
        f("reverse", Value::from_function(filters::reverse), C::Elements),
        f("round", Value::from_function(filters::round), C::Little),
        f("safe", Value::from_function(filters::safe), C::Whole),
        f("select", Value::from_function(filters::select), C::Elements),
        f("selectattr", Value::from_function(filters::selectattr), C::Elements),
        f("sort", Value::from_function(filters::sort), C::Whole),
        f("split", Value::from_function(filters::split), C::Split),
        f("string", Value::from_function(filters::string), C::Whole),
        f("sum", Value::from_function(filters::sum), C::Whole),
        f("title", Value::from_function(filters::title), C::Outer),
        f("tojson", Value::from_function(to_json), C::Whole),
        f("trim", Value::from_function(filters::trim), C::Outer),
        f("unique", Value::from_function(filters::unique), C::Whole),
        f("upper", Value::from_function(filters::upper), C::Outer),
    ]
}

/// A test of one value, by its name in templates.
type OfKind = (&'static str, fn(&Value) -> bool);

/// A test of two values, by its name in templates.
type Comparison = (&'static str, fn(&Value, &Value) -> bool);

/// The tests that look at a value's kind, and no further.
const KINDS: &[OfKind] = &[
    ("boolean", tests::is_boolean),
    ("defined", tests::is_defined),
    ("false", tests::is_false),
    ("float", tests::is_float),
    ("int", tests::is_integer),
    ("integer", tests::is_integer),
    ("iterable", tests::is_iterable),
    ("mapping", tests::is_mapping),
    ("none", tests::is_none),
    ("number", tests::is_number),
    ("sequence", tests::is_sequence),
    ("string", tests::is_string),
    ("true", tests::is_true),
    ("undefined", tests::is_undefined),
];

/// The tests that compare two values.
const COMPARISONS: &[Comparison] = &[
    ("!=", tests::is_ne),
    ("<", tests::is_lt),
    ("<=", tests::is_le),
    ("==", tests::is_eq),
    (">", tests::is_gt),
    (">=", tests::is_ge),
    ("eq", tests::is_eq),
    ("equalto", tests::is_eq),
    ("ge", tests::is_ge),
    ("greaterthan", tests::is_gt),
    ("gt", tests::is_gt),
    ("le", tests::is_le),
    ("lessthan", tests::is_lt),
    ("lt", tests::is_lt),
    ("ne", tests::is_ne),
    ("sameas", tests::is_sameas),
];

/// Gives an empty environment what templates use.
pub(super) fn install(environment: &mut Environment<'_>, purse: &Purse) {
    for Filter(name, filter, cost) in known() {
        let purse = purse.clone();
        environment.add_filter(name, move |state: &State<'_, '_>, args: Rest<Value>| {
            purse.pay(price(cost, &args, &purse)?)?;
            finished(filter.call(state, &args)?, cost, &purse)
        });
    }
    for (name, test) in KINDS {
        environment.add_test(*name, *test);
    }
    environment.add_test("odd", tests::is_odd);
    environment.add_test("even", tests::is_even);
    environment.add_test("divisibleby", tests::is_divisibleby);
    for (name, test) in COMPARISONS {
        let purse = purse.clone();
        environment.add_test(*name, move |a: &Value, b: &Value| {
            purse.pay_comparison(a, b).map(|()| test(a, b))
        });
    }
    let within = Value::from_function(tests::is_in);
    let own = purse.clone();
    environment.add_test("in", move |state: &State<'_, '_>, a: &Value, b: &Value| {
        own.pay_whole(b)?;
        within.call(state, &[a.clone(), b.clone()]).map(|found| found.is_true())
    });
    environment.add_test("startingwith", tests::is_startingwith);
    environment.add_test("endingwith", tests::is_endingwith);
    globals(environment, purse);
}

fn globals(environment: &mut Environment<'_>, purse: &Purse) {
    environment.add_function("namespace", functions::namespace);
    environment.add_function("dict", functions::dict);
    let own = purse.clone();
    environment.add_function(
        "range",
        move |low: isize, high: Option<isize>, step: Option<isize>| {
            own.settle(functions::range(low, high, step)?)
        },
    );
    let own = purse.clone();
    environment.add_function("raise_exception", move |text: Value| {
        own.pay_whole(&text)?;
        Err::<Value, _>(Error::new(ErrorKind::InvalidOperation, text.to_string()))
    });
    let own = purse.clone();
    environment.set_unknown_method_callback(move |state, value, method, args| {
        let cost = match method {
            "replace" => Cost::Replace,
            "join" => Cost::Join,
            "split" => Cost::Split,
            "splitlines" | "items" | "keys" | "values" => Cost::Elements,
            "format" => Cost::Format,
            "get" => Cost::Little,
            _ => Cost::Outer,
        };
        // A separator's method, but a list's filter.
        let is_reversed = method == "join" && args.len() == 1;
        let mut all = vec![value.clone()];
        all.extend(args.iter().cloned());
        if is_reversed {
            all.reverse();
        }
        own.pay(price(cost, &all, &own)?)?;
        finished(unknown_method_callback(state, value, method, args)?, cost, &own)
    });
}

/// The price of a call with these arguments, the first of which is what it is called on.
fn price(cost: Cost, args: &[Value], purse: &Purse) -> Result<u64> {
    let Some(first) = args.first() else { return Ok(1) };
    let text = |at: usize| args.get(at).and_then(Value::as_str);
    let rest = || args.iter().map(outer).fold(0, u64::saturating_add);
    Ok(match cost {
        Cost::Little => 1,
        Cost::Text => 1 + text(0).map_or(0, str::len) as u64,
        Cost::Outer => rest(),
        Cost::Whole => purse.whole(first)?.saturating_add(rest()),
        Cost::Elements => match first.as_str() {
            Some(text) => ELEMENT.saturating_mul(text.len() as u64),
            None => rest(),
        },
        Cost::Join => {
            let separator = text(1).map_or(0, str::len) as u64;
            let gaps = first.len().unwrap_or(0) as u64;
            purse.whole(first)?.saturating_add(gaps.saturating_mul(separator))
        }
        Cost::Replace => {
            let (Some(old), Some(new)) = (text(1), text(2)) else {
                let whole = all(args, purse)?;
                return Ok(whole.saturating_mul(whole));
            };
            let whole = purse.whole(first)?;
            let places = match first.as_str() {
                Some(text) => text.matches(old).count() as u64,
                None => whole,
            };
            whole.saturating_add(places.saturating_mul(new.len() as u64))
        }
        Cost::Indent => {
            let width = args.get(1).and_then(Value::as_usize).unwrap_or(4) as u64;
            let lines = first.as_str().map_or(0, |text| text.split('\n').count()) as u64;
            rest().saturating_add(lines.saturating_mul(width))
        }
        Cost::Split => {
            let Some(whole) = first.as_str() else { return Ok(rest()) };
            let pieces = match text(1) {
                Some(separator) => whole.matches(separator).count(),
                None => whole.matches(char::is_whitespace).count(),
            };
            rest().saturating_add(ELEMENT.saturating_mul(pieces as u64 + 1))
        }
        Cost::Format => {
            all(args, purse)?.saturating_add(widths(first.as_str().unwrap_or_default()))
        }
    })
}

/// All that is in all arguments.
fn all(args: &[Value], purse: &Purse) -> Result<u64> {
    args.iter().try_fold(0, |sum: u64, arg| Ok(sum.saturating_add(purse.whole(arg)?)))
}

/// The numbers in a format, all of which may be widths; one that is given apart has no bound.
fn widths(format: &str) -> u64 {
    if format.contains('*') || format.contains(":{") {
        return u64::MAX;
    }
    let numbers = format.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
    let number = |digits: &str| digits.parse().unwrap_or(u64::MAX);
    numbers.map(number).fold(0, u64::saturating_add)
}

/// A result, as a list if it was none yet; what nests lists is paid for whole.
fn finished(value: Value, cost: Cost, purse: &Purse) -> Result<Value> {
    let value = purse.settle(value)?;
    if matches!(cost, Cost::Whole) {
        purse.pay_whole(&value)?;
    }
    Ok(value)
}
