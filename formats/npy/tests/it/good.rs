//! What numpy wrote reads as numpy says, is written again bit by bit, and survives damage.

use wire::Endian;

use crate::read;

/// numpy 2 wrote these files and the text of what they hold: fixtures/make/npy.py.
#[test]
fn files_read_as_numpy_reads_them() {
    let files = testing::files(testing::fixtures("npy"), "npy");
    assert_eq!(files.len(), 25);
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        assert!(npy::probe(&bytes));
        let array = read(&bytes).unwrap();
        let order = if array.fortran { "fortran" } else { "c" };
        let text = format!(
            "{} {:?} {order} at {}, {} bytes\n",
            array.descr, array.shape, array.data_offset, array.data_len
        );
        let golden = std::fs::read_to_string(file.with_extension("golden")).unwrap();
        assert_eq!(text, golden, "{}", file.display());
        let head = &bytes[..bytes.len().min(npy::Limits::default().head() as usize)];
        assert_eq!(npy::read_head(head, bytes.len() as u64, &npy::Limits::default()), Ok(array));
    }
}

#[test]
fn headers_are_written_as_numpy_writes_them() {
    let mut written = 0;
    for file in testing::files(testing::fixtures("npy"), "npy") {
        let bytes = std::fs::read(&file).unwrap();
        let array = read(&bytes).unwrap();
        if array.fortran || bytes[6] != 1 {
            continue;
        }
        let header = npy::header(array.descr, &array.shape).unwrap();
        assert_eq!(header, &bytes[..header.len()], "{}", file.display());
        assert_eq!(header.len() as u64, array.data_offset);
        written += 1;
    }
    assert_eq!(written, 22);
}

/// At some number of dimensions the text ends just where the padding would be none.
#[test]
fn padding_is_numpys_at_every_rank() {
    let starts = std::fs::read_to_string(testing::fixtures("npy/starts.txt")).unwrap();
    assert_eq!(starts.lines().count(), 65);
    let byte = npy::Descr { kind: npy::Kind::Uint, size: 1, endian: Endian::Little };
    for (rank, line) in starts.lines().enumerate() {
        let header = npy::header(byte, &vec![1; rank]).unwrap();
        assert_eq!(format!("{rank} {}", header.len()), line);
    }
    npy::header(byte, &[1; 65]).unwrap_err();
}

#[test]
fn the_largest_shape_is_written_and_read() {
    let header = npy::header(npy::Descr::F32, &[u64::MAX, 0]).unwrap();
    assert_eq!(read(&header).unwrap_err().what, "shape");
    let mut header = npy::header(npy::Descr::F32, &[u64::MAX >> 2, 0]).unwrap();
    assert_eq!(read(&header).unwrap().shape, [u64::MAX >> 2, 0]);
    header.push(0);
    assert_eq!(read(&header).unwrap_err().what, "data");
}

/// No prefix is answered without a place, and no flipped bit may panic.
#[test]
fn damage_is_an_error_with_a_place() {
    for name in ["le_f4", "scalar", "version_2"] {
        let good = std::fs::read(testing::fixtures(format!("npy/{name}.npy"))).unwrap();
        for len in 0..good.len() {
            let error = read(&good[..len]).expect_err("cut short");
            assert!(error.offset <= len as u64, "{name}, {len} bytes: {error}");
        }
        let mut refused = 0;
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            match read(&bad) {
                Err(error) => {
                    assert!(error.offset <= bad.len() as u64, "{name}, bit {bit}: {error}");
                    refused += 1;
                }
                Ok(array) => assert_eq!(array.data_offset + array.data_len, bad.len() as u64),
            }
        }
        assert!(refused > 700, "{name}: only {refused} flips were noticed");
    }
}
