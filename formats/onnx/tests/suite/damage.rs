//! No prefix and no flipped bit of a good file may panic, or be answered without a place.

#[test]
fn every_prefix_is_survived() {
    let paths = testing::files(testing::fixtures("onnx"), "onnx");
    let mut refused = 0;
    for path in &paths {
        let good = std::fs::read(path).unwrap();
        for len in 0..good.len() {
            let cut = good[..len].to_vec();
            // What follows the graph is optional, so a model may end there.
            if let Err(error) = onnx::read(&cut, &onnx::Limits::default()) {
                assert!(error.offset <= len as u64, "{}: {len}: {error}", path.display());
                refused += 1;
            }
            onnx::probe(&cut);
        }
        onnx::read(&good, &onnx::Limits::default()).unwrap();
    }
    assert_eq!(paths.len(), 5);
    assert!(refused > 3000, "only {refused} were refused");
}

#[test]
fn two_thousand_flipped_bits_are_survived() {
    let paths = testing::files(testing::fixtures("onnx"), "onnx");
    let mut read = 0;
    for path in &paths {
        let good = std::fs::read(path).unwrap();
        let mut bad = good.clone();
        let bits = good.len() * 8;
        for bit in (0..bits).step_by((bits / 2000).max(1)) {
            bad[bit / 8] ^= 1 << (bit % 8);
            if let Ok(model) = onnx::read(&bad, &onnx::Limits::default()) {
                let ends =
                    model.graph.initializers.iter().filter_map(|tensor| match &tensor.data {
                        onnx::Data::At(at) => Some(at.end),
                        _ => None,
                    });
                assert!(ends.max().unwrap_or(0) <= bad.len() as u64, "{}: {bit}", path.display());
                read += 1;
            }
            bad[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(good, bad);
    }
    assert!(read > 1000, "only {read} were read: names and numbers may change");
}
