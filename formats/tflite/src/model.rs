//! From the bytes of a file to its constant tensors.

use std::ops::Range;

use wire::{Error, ReadAt, Result, Why, product};

use crate::flat::{File, Table};
use crate::graph::{Layer, Uses};
use crate::{IDENTIFIER, Kind, Limits, RANK};

/// What a file holds of constants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// The version of the schema: 3.
    pub version: u32,
    /// The tensors that have data, in the order of the file.
    pub tensors: Vec<Tensor>,
    /// Those that have, and cannot be had.
    pub unread: Vec<Unread>,
}

/// A constant tensor, and where its elements are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Its name; one of a subgraph but the first begins with that subgraph's name.
    pub name: String,
    /// Its number in its subgraph.
    pub index: u64,
    /// The type of the elements.
    pub kind: Kind,
    /// The outermost dimension first.
    pub shape: Vec<u64>,
    /// Where the elements are.
    pub data: Range<u64>,
    /// How integers stand for numbers, if they do.
    pub quantization: Option<Quantization>,
    /// The layer that it is the kernel of, if all operators that use it say the same.
    pub layer: Option<Layer>,
}

/// Integers for numbers: `(q − zero) · scale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantization {
    /// Where the scales are: f32.
    pub scales: u64,
    /// How many: one, or one for each step along `axis`.
    pub count: u64,
    /// Where the zero points are, i64, and how many: one, or as many as scales.
    pub zeros: Option<(u64, u64)>,
    /// The dimension along which scales differ.
    pub axis: u64,
}

/// A constant that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// Its name.
    pub name: String,
    /// What it is: `sparse`.
    pub what: String,
}

/// Reads names, places and quantization of all constant tensors; no element is read.
///
/// # Errors
/// - `Truncated`, `Invalid`, `Mismatch`: the file breaks the format.
/// - `TooLarge`: above a limit, or 64 dimensions.
/// - `Io`: reading failed.
pub fn read(source: &dyn ReadAt, limits: &Limits) -> Result<Model> {
    let file = File::new(source, limits);
    let identifier: [u8; 4] = file.array(4, "file identifier")?;
    if identifier != *IDENTIFIER {
        let found = format!("\"{}\"", identifier.escape_ascii());
        let expected = "\"TFL3\": this is no TensorFlow Lite model".to_owned();
        return Err(Error::new(4, "file identifier", Why::Mismatch { found, expected }));
    }
    let root = file.table(0, "model")?;
    let version = root.u32(0, "version")?;
    if version != 3 {
        return Err(Error::unsupported(root.at, "version", format!("{version}, expected 3")));
    }
    let codes = root.tables(1, "operator codes")?.take(counted(&root, 1, "operator codes")?);
    let codes = codes.map(|code| operator_code(&code?)).collect::<Result<_>>()?;
    let model = Model { version, tensors: Vec::new(), unread: Vec::new() };
    let mut reader = Reader { file: &file, root, codes, model, tensors: 0, operators: 0 };
    counted(&reader.root, 2, "subgraphs")?;
    for (number, subgraph) in (0u64..).zip(reader.root.tables(2, "subgraphs")?) {
        reader.subgraph(number, &subgraph?)?;
    }
    Ok(reader.model)
}

/// The length of a vector of tables, which is bounded.
fn counted(table: &Table<'_, '_>, field: u16, what: &'static str) -> Result<usize> {
    let vector = table.vector(field, 4, what)?;
    check_count(table, vector.start, vector.len, what)?;
    Ok(usize::try_from(vector.len).unwrap_or(usize::MAX))
}

fn check_count(table: &Table<'_, '_>, at: u64, value: u64, what: &'static str) -> Result<()> {
    let (max, lift) = table.file.limits.tables();
    let why = Why::TooLarge { value, max, lift };
    if value <= max { Ok(()) } else { Err(Error::new(at, what, why)) }
}

/// The number of an operator: the older field has one byte, and says 127 for larger numbers.
fn operator_code(code: &Table<'_, '_>) -> Result<i32> {
    let old = i32::from(code.u8(0, "operator code")?);
    Ok(old.max(code.i32(3, "operator code")?))
}

struct Reader<'f, 'a> {
    file: &'f File<'a>,
    root: Table<'f, 'a>,
    codes: Vec<i32>,
    model: Model,
    /// Tensors and operators seen, of all subgraphs.
    tensors: u64,
    operators: u64,
}

impl<'f, 'a> Reader<'f, 'a> {
    fn subgraph(&mut self, number: u64, subgraph: &Table<'f, 'a>) -> Result<()> {
        let prefix = match number {
            0 => String::new(),
            _ => {
                let name = subgraph.name(4, "subgraph's name")?;
                if name.is_empty() { format!("subgraph {number}/") } else { format!("{name}/") }
            }
        };
        self.tensors = self.tensors.saturating_add(counted(subgraph, 0, "tensors")? as u64);
        self.operators = self.operators.saturating_add(counted(subgraph, 3, "operators")? as u64);
        check_count(subgraph, subgraph.at, self.tensors.max(self.operators), "subgraphs")?;
        let uses = self.uses(subgraph)?;
        for (index, tensor) in (0u64..).zip(subgraph.tables(0, "tensors")?) {
            self.tensor(&prefix, index, &tensor?, &uses)?;
        }
        Ok(())
    }

    fn uses(&self, subgraph: &Table<'f, 'a>) -> Result<Uses> {
        let shape = |index: u64| {
            let tensor = subgraph.item(0, index, "tensors")?;
            tensor.map_or_else(|| Ok(Vec::new()), |tensor| dims(&tensor))
        };
        let mut uses = Uses::default();
        for operator in subgraph.tables(3, "operators")? {
            let operator = operator?;
            let number = operator.u32(0, "operator code")?;
            let code = usize::try_from(number).ok().and_then(|number| self.codes.get(number));
            let Some(&code) = code else {
                let rule = format!("number {number} of {}", self.codes.len());
                return Err(Error::invalid(operator.at, "operator code", rule));
            };
            uses.add(&operator, code, &shape)?;
        }
        Ok(uses)
    }

    fn tensor(
        &mut self,
        prefix: &str,
        index: u64,
        tensor: &Table<'f, 'a>,
        uses: &Uses,
    ) -> Result<()> {
        let name = || {
            let name = tensor.name(3, "tensor's name")?;
            let name = if name.is_empty() { format!("tensor {index}") } else { name };
            Ok(format!("{prefix}{name}"))
        };
        let external = tensor.u32(10, "external buffer")? != 0;
        let data = self.buffer(tensor.u32(2, "tensor's buffer")?.into())?;
        if data.is_empty() && !external {
            return Ok(());
        }
        let name = name()?;
        let what = match Kind::numbered(tensor.u8(1, "tensor's type")?) {
            _ if external => "in a file of its own (external buffer)".to_owned(),
            _ if tensor.table(6, "sparsity")?.is_some() => "sparse".to_owned(),
            _ if uses.shuffled.contains(&index) => "shuffled for one processor".to_owned(),
            Err(what) => what,
            Ok(kind) => match self.constant(name.clone(), index, kind, tensor, data)? {
                Ok(mut constant) => {
                    constant.layer = uses.layers.get(&index).copied().flatten();
                    self.model.tensors.push(constant);
                    return Ok(());
                }
                Err(what) => what.to_owned(),
            },
        };
        self.model.unread.push(Unread { name, what });
        Ok(())
    }

    /// A tensor whose elements are numbers; else what is not read of it.
    fn constant(
        &self,
        name: String,
        index: u64,
        kind: Kind,
        tensor: &Table<'f, 'a>,
        data: Range<u64>,
    ) -> Result<std::result::Result<Tensor, &'static str>> {
        let shape = dims(tensor)?;
        let len = data.end.saturating_sub(data.start);
        let stated = product(&shape).and_then(|count| kind.bytes(count));
        if stated != Some(len) {
            let rule = format!("tensor {name:?}: {len} bytes for {kind:?} of shape {shape:?}");
            return Err(Error::invalid(tensor.at, "tensor", rule));
        }
        let quantization = match tensor.table(4, "quantization")? {
            Some(table) if kind.is_integer() => match self.quantization(&name, &table, &shape)? {
                Ok(found) => found,
                Err(what) => return Ok(Err(what)),
            },
            _ => None,
        };
        Ok(Ok(Tensor { name, index, kind, shape, data, quantization, layer: None }))
    }

    fn quantization(
        &self,
        name: &str,
        table: &Table<'f, 'a>,
        shape: &[u64],
    ) -> Result<std::result::Result<Option<Quantization>, &'static str>> {
        match table.u8(4, "quantization details")? {
            0 => {}
            2 => return Ok(Err("quantized block by block")),
            _ => return Ok(Err("quantized in a way of its own")),
        }
        let scales = table.vector(2, 4, "scales")?;
        let zeros = table.vector(3, 8, "zero points")?;
        if scales.len == 0 {
            return Ok(Ok(None));
        }
        let stated = table.i32(6, "quantized dimension")?;
        let axis = u64::try_from(stated).ok();
        let along = axis.and_then(|axis| shape.get(usize::try_from(axis).ok()?)).copied();
        let is_one_each = [Some(1), along].contains(&Some(scales.len));
        if !is_one_each || ![0, 1, scales.len].contains(&zeros.len) {
            let rule = format!(
                "tensor {name:?}: {} scales and {} zero points for dimension {stated} of {shape:?}",
                scales.len, zeros.len
            );
            return Err(Error::invalid(table.at, "quantization", rule));
        }
        let zeros = (zeros.len > 0).then_some((zeros.start, zeros.len));
        let (count, axis) = (scales.len, axis.unwrap_or(0));
        Ok(Ok(Some(Quantization { scales: scales.start, count, zeros, axis })))
    }

    /// Where the bytes of a buffer are; buffer 0 is none.
    fn buffer(&self, number: u64) -> Result<Range<u64>> {
        let Some(buffer) = self.root.item(4, number, "buffer")? else {
            let buffers = self.root.vector(4, 4, "buffers")?;
            let rule = format!("number {number} of {}", buffers.len);
            return Err(Error::invalid(buffers.start, "tensor's buffer", rule));
        };
        if number == 0 {
            return Ok(0..0);
        }
        let (offset, size) = (buffer.u64(1, "buffer's offset")?, buffer.u64(2, "buffer's size")?);
        // 1 stands for an offset that was to be filled in later, and was not.
        if offset > 1 {
            self.file.fits(offset, size, "buffer")?;
            return Ok(offset..offset.saturating_add(size));
        }
        let data = buffer.vector(0, 1, "buffer")?;
        Ok(data.start..data.start.saturating_add(data.len))
    }
}

fn dims(tensor: &Table<'_, '_>) -> Result<Vec<u64>> {
    let dims = tensor.numbers(0, RANK, "tensor's shape")?;
    let dims = dims.iter().map(|&dim| u64::try_from(dim));
    let negative = |_| Error::invalid(tensor.at, "tensor's shape", "a dimension is negative");
    dims.collect::<std::result::Result<_, _>>().map_err(negative)
}
