//! Small checkpoints, put together byte by byte, where no real file shows the case.

use torch::Crc32;

/// A stored zip archive of these entries.
pub(crate) fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut out, mut rows) = (Vec::new(), Vec::new());
    for (name, data) in entries {
        let mut crc = Crc32::default();
        crc.update(data);
        let crc = crc.value();
        let len = u32::try_from(data.len()).unwrap();
        let mut common = vec![0; 8];
        common.extend([crc, len, len].map(u32::to_le_bytes).concat());
        common.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
        common.extend([0, 0]);
        let at = u32::try_from(out.len()).unwrap();
        rows.extend([b"PK\x01\x02\x14\0\x14\0".as_slice(), &common].concat());
        rows.extend([0; 10]);
        rows.extend([&at.to_le_bytes(), name.as_bytes()].concat());
        out.extend([b"PK\x03\x04\x14\0", common.as_slice(), name.as_bytes(), data].concat());
    }
    let count = u16::try_from(entries.len()).unwrap().to_le_bytes();
    let (len, at) = (u32::try_from(rows.len()).unwrap(), u32::try_from(out.len()).unwrap());
    out.extend(rows);
    out.extend([b"PK\x05\x06\0\0\0\0".as_slice(), &count, &count].concat());
    out.extend([&len.to_le_bytes()[..], &at.to_le_bytes(), &[0, 0]].concat());
    out
}

/// A checkpoint of this pickle with one storage '0' of 16 bytes: the floats 1 to 4.
pub(crate) fn checkpoint(pickle: &[u8]) -> Vec<u8> {
    let floats = [1.0f32, 2.0, 3.0, 4.0].map(f32::to_le_bytes).concat();
    zip(&[("a/data.pkl", pickle), ("a/data/0", &floats)])
}

pub(crate) fn text(text: &str) -> Vec<u8> {
    let len = u32::try_from(text.len()).unwrap();
    [b"X".as_slice(), &len.to_le_bytes(), text.as_bytes()].concat()
}

fn int(value: i64) -> Vec<u8> {
    [b"\x8a\x08".as_slice(), &value.to_le_bytes()].concat()
}

fn tuple(items: &[i64]) -> Vec<u8> {
    [b"(".to_vec(), items.iter().flat_map(|&item| int(item)).collect(), b"t".to_vec()].concat()
}

/// A tensor, as `_rebuild_tensor_v2` is told of it.
pub(crate) struct View<'a> {
    pub(crate) class: &'a str,
    pub(crate) key: &'a str,
    pub(crate) location: &'a str,
    pub(crate) count: i64,
    pub(crate) offset: i64,
    pub(crate) shape: &'a [i64],
    pub(crate) strides: &'a [i64],
}

/// The whole of storage '0'.
pub(crate) const WHOLE: View<'static> = View {
    class: "FloatStorage",
    key: "0",
    location: "cpu",
    count: 4,
    offset: 0,
    shape: &[2, 2],
    strides: &[2, 1],
};

pub(crate) fn storage(view: &View<'_>) -> Vec<u8> {
    let class = format!("ctorch\n{}\n", view.class);
    let parts = [text("storage"), class.into_bytes(), text(view.key), text(view.location)];
    [b"(".to_vec(), parts.concat(), int(view.count), b"tQ".to_vec()].concat()
}

pub(crate) fn tensor(view: &View<'_>) -> Vec<u8> {
    let head = b"ctorch._utils\n_rebuild_tensor_v2\n(".to_vec();
    let place = [int(view.offset), tuple(view.shape), tuple(view.strides)].concat();
    [head, storage(view), place, b"\x89)tR".to_vec()].concat()
}

/// A dictionary of these keys and values, each a part of a pickle that pushes one value.
pub(crate) fn dict(items: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let pairs: Vec<u8> =
        items.iter().flat_map(|(key, value)| [text(key), value.clone()].concat()).collect();
    [b"}(".to_vec(), pairs, b"u".to_vec()].concat()
}

/// A whole pickle of the value.
pub(crate) fn pickle(value: &[u8]) -> Vec<u8> {
    [b"\x80\x02", value, b"."].concat()
}

/// A checkpoint with one tensor 'w'.
pub(crate) fn one(view: &View<'_>) -> Vec<u8> {
    checkpoint(&pickle(&dict(&[("w", tensor(view))])))
}
