//! The header's JSON, every key of it seen: equal ones and unknown ones are refused.

use std::collections::HashSet;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use wire::Why;

use crate::json::{Fault, Texts, offset_of, quoted};
use crate::{Dtype, LENGTH_BYTES, METADATA, RANK_MAX};

/// What a header says, in its own order.
pub(crate) struct Header {
    pub(crate) metadata: Vec<(String, String)>,
    pub(crate) tensors: Vec<Stated>,
}

/// What it says of one tensor; type, shape and offsets agree.
pub(crate) struct Stated {
    pub(crate) name: String,
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<u64>,
    /// From the start of the data.
    pub(crate) start: u64,
    pub(crate) end: u64,
}

/// Reads the header `text`.
///
/// A fault's place is where the parser stood: at most a token after what it names.
pub(crate) fn parse(text: &str) -> wire::Result<Header> {
    let mut fault = Fault::default();
    walk(text, Whole { fault: &mut fault, stop_at: None })
        .map_err(|error| fault.error((LENGTH_BYTES, text.as_bytes()), "header", &error))
}

/// The place in the file just after the name of the tensor `name`.
///
/// Faults between tensors are found after the header was read, when its places are gone; so it
/// is read once more, up to there.
pub(crate) fn place_of(text: &str, name: &str) -> u64 {
    let whole = Whole { fault: &mut Fault::default(), stop_at: Some(name) };
    let offset = walk(text, whole).map_or_else(|stop| offset_of(&stop, text.as_bytes()), |_| 0);
    LENGTH_BYTES.saturating_add(offset)
}

fn walk(text: &str, whole: Whole<'_>) -> serde_json::Result<Header> {
    let mut json = serde_json::Deserializer::from_str(text);
    let header = whole.deserialize(&mut json)?;
    json.end()?;
    Ok(header)
}

struct Whole<'f> {
    fault: &'f mut Fault,
    stop_at: Option<&'f str>,
}

impl<'de> DeserializeSeed<'de> for Whole<'_> {
    type Value = Header;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Header, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Whole<'_> {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
        let mut header = Header { metadata: Vec::new(), tensors: Vec::new() };
        let mut seen = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if self.stop_at == Some(&name) {
                return Err(de::Error::custom("here"));
            }
            if !seen.insert(name.clone()) {
                return Err(self.fault.twice(&name));
            }
            if name == METADATA {
                self.fault.within = Some(METADATA.to_owned());
                let check = |_: &str| Ok(());
                let texts = Texts { fault: self.fault, key: "metadata", check };
                header.metadata = map.next_value_seed(texts)?;
            } else {
                self.fault.within = Some(format!("tensor {}", quoted(&name)));
                header.tensors.push(map.next_value_seed(Tensor { fault: self.fault, name })?);
            }
            self.fault.within = None;
        }
        Ok(header)
    }
}

struct Tensor<'f> {
    fault: &'f mut Fault,
    name: String,
}

impl<'de> DeserializeSeed<'de> for Tensor<'_> {
    type Value = Stated;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Stated, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Tensor<'_> {
    type Value = Stated;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with dtype, shape and data_offsets")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Stated, A::Error> {
        let (mut dtype, mut shape, mut offsets) = (None, None, None);
        while let Some(field) = map.next_key::<String>()? {
            let is_again = match field.as_str() {
                "dtype" => {
                    let name = map.next_value::<String>()?;
                    let named = Dtype::named(&name);
                    dtype.replace(named.map_err(|why| self.fault.refuse(why))?).is_some()
                }
                "shape" => {
                    shape.replace(map.next_value_seed(Numbers::shape(self.fault))?).is_some()
                }
                "data_offsets" => {
                    offsets.replace(map.next_value_seed(Numbers::offsets(self.fault))?).is_some()
                }
                _ => {
                    let rule = format!("the field {} is not of the format", quoted(&field));
                    return Err(self.fault.refuse(Why::Invalid { rule }));
                }
            };
            if is_again {
                return Err(self.fault.twice(&field));
            }
        }
        let missing = |field| move || Why::Invalid { rule: format!("it has no {field}") };
        let stated = || {
            let dtype = dtype.ok_or_else(missing("dtype"))?;
            let shape = shape.ok_or_else(missing("shape"))?;
            stated(self.name, dtype, shape, &offsets.ok_or_else(missing("data_offsets"))?)
        };
        stated().map_err(|why| self.fault.refuse(why))
    }
}

/// The tensor, if its type and shape fill exactly the bytes between its offsets.
fn stated(name: String, dtype: Dtype, shape: Vec<u64>, offsets: &[u64]) -> Result<Stated, Why> {
    let &[start, end] = offsets else {
        let found = format!("{} data_offsets", offsets.len());
        return Err(Why::Mismatch { found, expected: "2: start and end".to_owned() });
    };
    let need = dtype.len_of(&shape)?;
    let Some(have) = end.checked_sub(start) else {
        let rule = format!("data_offsets [{start}, {end}] run backwards");
        return Err(Why::Invalid { rule });
    };
    if have != need {
        return Err(Why::Mismatch {
            found: format!("data_offsets [{start}, {end}], {have} bytes"),
            expected: format!("the {need} bytes of shape {shape:?} in {}", dtype.name()),
        });
    }
    Ok(Stated { name, dtype, shape, start, end })
}

/// An array of unsigned integers, of a length that is bounded before it takes memory.
struct Numbers<'f> {
    fault: &'f mut Fault,
    field: &'static str,
    max: u64,
}

impl<'f> Numbers<'f> {
    fn shape(fault: &'f mut Fault) -> Self {
        Self { fault, field: "dimensions", max: RANK_MAX }
    }

    fn offsets(fault: &'f mut Fault) -> Self {
        Self { fault, field: "data_offsets", max: 2 }
    }
}

impl<'de> DeserializeSeed<'de> for Numbers<'_> {
    type Value = Vec<u64>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Vec<u64>, D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Numbers<'_> {
    type Value = Vec<u64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of integers from 0 to 2^64 - 1")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<u64>, A::Error> {
        let mut numbers = Vec::new();
        while let Some(number) = seq.next_element()? {
            numbers.push(number);
            if numbers.len() as u64 > self.max {
                let rule = format!("more than {} {}", self.max, self.field);
                return Err(self.fault.refuse(Why::Invalid { rule }));
            }
        }
        Ok(numbers)
    }
}
