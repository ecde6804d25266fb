//! HDF5, the hierarchical container that Keras keeps its weights in.
//!
//! ```text
//!  superblock ──▶ object header of "/" ──▶ links ──▶ object header ──▶ messages:
//!  signature,     messages of the root     by name   of a group or     dataspace, datatype,
//!  widths, end                                       a dataset         fill value, filters,
//!                                                                      layout ──▶ data
//!  links lie     in the header, or in                data lie    in the header (compact),
//!   version 1    B-tree ▶ symbol nodes + local heap   whole      in one piece (contiguous),
//!   version 2    B-tree ▶ fractal heap                in chunks  B-tree 1 or 2, fixed or extensible
//!                                                                array, implicit, a single one
//! ```
//!
//! Addresses count from the superblock, which lies at 0, 512, 1024, …; all ones mean *undefined*.
//! Integers of structures are little-endian; elements have the order their datatype states.
//! Structures of newer versions end in a checksum (Jenkins' lookup3), which is held against them.
//! What was never written reads as the fill value.
//!
//! Specification: HDF5 File Format Specification 3.0,
//! <https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html>; sizes that it leaves
//! open (heap identifiers, nodes of B-trees, blocks of extensible arrays) are those of libhdf5.
//! Filters: deflate, shuffle, fletcher32, LZF.
//! Refused: external links; files that point back into themselves. Named, each with its dataset:
//! external storage, virtual datasets, other filters. No other file is ever opened.
//!
//! This crate reads and writes the container. It knows nothing of layers or weights.

#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
#![deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod attribute;
mod btree1;
mod btree2;
mod checksum;
mod chunks;
mod dataset;
mod datatype;
mod extensible;
mod fields;
mod file;
mod filter;
mod fixed;
mod global;
mod group;
mod header;
mod heap;
mod limits;
mod message;
mod superblock;
mod write;

pub use attribute::Attribute;
pub use checksum::lookup3;
pub use chunks::{Chunk, Chunks};
pub use dataset::{Dataset, Fetch, Storage};
pub use datatype::{Class, Datatype, Float, Member};
pub use file::{File, Object, open};
pub use limits::Limits;
pub use superblock::probe;
pub use write::{Element, Plan, Text, Tree};

/// The first bytes of a superblock.
const SIGNATURE: &[u8; 8] = b"\x89HDF\r\n\x1a\n";
