//! Attributes: small named arrays at a group or a dataset.

use wire::{Error, Result, product};

use crate::datatype::{self, Class, Datatype};
use crate::fields::{Fields, Image, text};
use crate::message::{self, Message};
use crate::{btree2, global, heap};

/// A small named array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// Its name.
    pub name: String,
    /// The type of its elements.
    pub datatype: Datatype,
    /// Its dimensions, none for a single value; nothing where it has no elements at all.
    pub shape: Option<Vec<u64>>,
    /// Where in the file it is stated.
    pub offset: u64,
    /// Its elements as they are stored.
    pub value: Vec<u8>,
    /// The text of each element, if they are text.
    pub texts: Option<Vec<String>>,
}

/// All attributes of an object.
pub(crate) fn all(image: &Image<'_>, messages: &[Message]) -> Result<Vec<Attribute>> {
    let mut found = Vec::new();
    for message in messages.iter().filter(|m| m.kind == message::ATTRIBUTE) {
        let message = message.clone().resolved(image)?;
        found.push(read(image, &mut message.fields(image))?);
    }
    let Some(info) = message::find(messages, message::ATTRIBUTE_INFO) else { return Ok(found) };
    let mut fields = info.fields(image);
    fields.version(&[0], "attribute info version")?;
    let flags = fields.u8("attribute info flags")?;
    fields.skip(if flags & 1 == 0 { 0 } else { 2 }, "attribute info")?;
    let heap = fields.address("attribute heap address")?;
    let names = fields.address("attribute index address")?;
    let (Some(heap), Some(names)) = (heap, names) else { return Ok(found) };
    let heap = heap::Fractal::open(image, heap)?;
    let id_len = heap.id_len();
    btree2::each(image, names, &[8], &mut |mut record| {
        let place = record.offset();
        let object = heap.object(image, &mut record.part(id_len, "attribute identifier")?)?;
        if record.u8("attribute flags")? & 2 != 0 {
            return Err(Error::unsupported(place, "attribute", "attributes in a heap of the file"));
        }
        found.push(read(image, &mut object.fields(image))?);
        Ok(())
    })?;
    Ok(found)
}

fn read(image: &Image<'_>, fields: &mut Fields<'_>) -> Result<Attribute> {
    let offset = fields.offset();
    let version = fields.version(&[1, 2, 3], "attribute version")?;
    let flags = fields.u8("attribute flags")?;
    let flags = if version == 1 { 0 } else { flags };
    let [name_len, type_len, space_len] =
        [fields.u16("name size")?, fields.u16("datatype size")?, fields.u16("dataspace size")?]
            .map(usize::from);
    fields.skip(if version == 3 { 1 } else { 0 }, "character set")?;
    let padded = |len: usize, fields: &mut Fields<'_>| match version {
        1 => fields.skip_padding(len, "attribute padding"),
        _ => Ok(()),
    };
    let name = fields.name(name_len, "attribute name")?;
    padded(name_len, fields)?;
    let mut part = fields.part(type_len, "attribute datatype")?;
    padded(type_len, fields)?;
    let datatype = match flags & 1 {
        0 => datatype::read(&mut part, 0)?,
        _ => {
            let shared = message::elsewhere(image, &mut part, message::DATATYPE)?;
            datatype::read(&mut shared.fields(image), 0)?
        }
    };
    let space = message::dataspace(&mut fields.part(space_len, "attribute dataspace")?)?;
    let shape = space.map(|space| space.dims);
    padded(space_len, fields)?;
    let dims = shape.clone().unwrap_or_else(|| vec![0]);
    let len = product(&[dims.as_slice(), &[datatype.size]].concat());
    let wraps = || Error::invalid(offset, "attribute", format!("{dims:?} elements are too many"));
    let len = usize::try_from(len.ok_or_else(wraps)?).map_err(|_| wraps())?;
    let value = fields.part(len, "attribute value")?;
    let texts = texts(image, &datatype, &value)?;
    Ok(Attribute { name, datatype, shape, offset, value: value.clone().rest().to_vec(), texts })
}

fn texts(
    image: &Image<'_>,
    datatype: &Datatype,
    value: &Fields<'_>,
) -> Result<Option<Vec<String>>> {
    let mut value = value.clone();
    let size = usize::try_from(datatype.size).unwrap_or(usize::MAX);
    let mut found = Vec::new();
    while value.left() > 0 {
        let at = value.offset();
        found.push(match datatype.class {
            // Python's bytes may hold any text of any encoding: those that are no text are none.
            Class::Text => match text(value.take(size, "attribute text")?, at, "attribute text") {
                Ok(text) => text.trim_end_matches(' ').to_owned(),
                Err(_) => return Ok(None),
            },
            Class::LongText => global::text(image, &mut value.part(size, "attribute text")?)?,
            _ => return Ok(None),
        });
    }
    let is_text = matches!(datatype.class, Class::Text | Class::LongText);
    Ok(is_text.then_some(found))
}
