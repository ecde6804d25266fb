//! Reads a GGUF file and writes it again: version 3, little-endian, data in the order of the infos.
//!
//! ```text
//! cargo run -p remold-gguf --example rewrite -- IN.gguf OUT.gguf
//! ```

use std::error::Error;

use gguf::{Endian, Limits, Plan};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args_os().skip(1);
    let (Some(from), Some(to)) = (args.next(), args.next()) else {
        return Err("usage: rewrite IN.gguf OUT.gguf".into());
    };
    let bytes = std::fs::read(from)?;
    let file = gguf::read(&bytes, &Limits::default())?;
    if file.endian == Endian::Big {
        return Err("the weights of a big-endian file would have to be swapped".into());
    }
    let tensors: Vec<_> =
        file.tensors.iter().map(|info| (info.name.clone(), info.dims.clone(), info.kind)).collect();
    let plan = Plan::new(&file.metadata, &tensors, file.alignment)?;
    let mut out = plan.header;
    out.resize(usize::try_from(plan.len)?, 0);
    for (info, placed) in file.tensors.iter().zip(&plan.tensors) {
        let range = |at: u64| -> Result<_, Box<dyn Error>> {
            Ok(usize::try_from(at)?..usize::try_from(at + info.len)?)
        };
        out[range(placed.offset)?].copy_from_slice(&bytes[range(info.offset)?]);
    }
    Ok(std::fs::write(to, out)?)
}
