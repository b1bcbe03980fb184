//! Weight files: what fits is bound, what does not is told, all of it; garbage is refused.

mod fixture;

use std::path::Path;

use fixture::{bytes, f32s, manifest, safetensors, weights};
use gatec_runtime::format::Elem;
use gatec_runtime::{LoadError, LoadOptions, Model, WeightSource, Weights};
use proptest::prelude::*;

fn load(weights: impl Into<WeightSource>) -> Result<Model, LoadError> {
    Model::from_bytes(bytes(), weights, &LoadOptions::default().threads(1))
}

fn from(tensors: &[(&str, &str, &[u64], &[u8])]) -> Weights {
    Weights::from_bytes(safetensors(tensors)).unwrap()
}

/// What the model makes of its weights: twice their values.
fn packed(weights: impl Into<WeightSource>) -> Vec<f32> {
    let mut session = load(weights).unwrap().session("pick").unwrap();
    session.run(&[("index", (&[0i64, 1, 2, 3]).into())]).unwrap().slice("y").unwrap().to_vec()
}

#[test]
fn parts_are_joined_in_order() {
    assert_eq!(packed(weights()), [2.0, 4.0, 6.0, 8.0]);
    let more = from(&[
        ("unused", "I64", &[], &[0; 8]),
        ("w.1", "F32", &[2], &f32s(&[3.0, 4.0])),
        ("w.0", "F32", &[2], &f32s(&[1.0, 2.0])),
    ]);
    assert_eq!(packed(more), [2.0, 4.0, 6.0, 8.0]);
}

#[test]
fn narrower_floats_are_widened() {
    let halves =
        from(&[("w.0", "F16", &[2], &[0x00, 0x3c, 0x00, 0x40]), ("w.1", "BF16", &[2], &[0x40, 0x40, 0x80, 0x40])]);
    assert_eq!(packed(halves), [2.0, 4.0, 6.0, 8.0]);
}

#[test]
fn one_tensor_is_used_where_it_stands_at_any_address() {
    let mut whole = manifest();
    whole.params[0].parts = vec!["w".into()];
    whole.params[0].part_shape = vec![2, 2];
    let artifact = fixture::artifact(&whole);
    for pad in 0..4 {
        let mut file = safetensors(&[("w", "F32", &[2, 2], &f32s(&[1.0, 2.0, 3.0, 4.0]))]);
        // A longer header moves the data to other addresses.
        let header = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
        file[..8].copy_from_slice(&((header + pad) as u64).to_le_bytes());
        file.splice(8 + header..8 + header, vec![b' '; pad]);
        let model = Model::from_bytes(
            artifact.as_slice(),
            Weights::from_bytes(file).unwrap(),
            &LoadOptions::default().threads(1),
        );
        let mut session = model.unwrap().session("pick").unwrap();
        let outputs = session.run(&[("index", (&[3i64, 0]).into())]).unwrap();
        assert_eq!(outputs.slice::<f32>("y").unwrap(), [8.0, 2.0]);
    }
}

#[test]
fn what_a_file_lacks_has_its_default() {
    let mut with_default = manifest();
    with_default.params[0].default = Some(-0.5);
    let artifact = fixture::artifact(&with_default);
    let packed = |weights: WeightSource| {
        let model = Model::from_bytes(artifact.as_slice(), weights, &LoadOptions::default().threads(1))?;
        let mut session = model.session("pick").unwrap();
        Ok(session.run(&[("index", (&[0i64, 1, 2, 3]).into())]).unwrap().slice::<f32>("y").unwrap().to_vec())
    };
    let packed = |weights| packed(weights).map_err(|e: LoadError| e.to_string());
    let second = from(&[("w.1", "F32", &[2], &f32s(&[3.0, 4.0]))]);
    assert_eq!(packed(second.into()), Ok(vec![-1.0, -1.0, 6.0, 8.0]));
    assert_eq!(packed(Weights::default().into()), Ok(vec![-1.0; 4]));
    assert_eq!(packed(WeightSource::Random(3)), Ok(vec![-1.0; 4]));
    // What is there must fit all the same.
    let wrong = from(&[("w.0", "F32", &[3], &[0; 12])]);
    assert!(packed(wrong.into()).unwrap_err().contains("tensor `w.0`: expected shape [2], found [3] [R0202]"));
}

#[test]
fn every_mismatch_is_told() {
    let wrong =
        from(&[("w_0", "F32", &[2], &[0; 8]), ("w.1", "F32", &[1, 2], &[0; 8]), ("other", "F32", &[], &[0; 4])]);
    assert_eq!(
        load(wrong).unwrap_err().to_string(),
        "the weights do not fit, 2 faults:\n  \
         no tensor `w.0`; is it `w_0`? [R0201]\n  \
         tensor `w.1`: expected shape [2], found [1, 2] [R0202]"
    );
    let wrong = from(&[("w.0", "F64", &[2], &[0; 16]), ("w.1", "U32", &[2], &[0; 8])]);
    assert_eq!(
        load(wrong).unwrap_err().to_string(),
        "the weights do not fit, 2 faults:\n  \
         tensor `w.0`: expected f32, found f64; gatec widens weights, but does not round them [R0203]\n  \
         tensor `w.1`: expected f32, found u32; gatec widens weights, but does not round them [R0203]"
    );
    assert!(load(Weights::default()).unwrap_err().to_string().contains("no tensor `w.0` [R0201]\n"));
}

#[test]
fn weights_come_from_files_and_from_indexes_of_files() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("a.safetensors"), safetensors(&[("w.0", "F32", &[2], &f32s(&[1.0, 2.0]))])).unwrap();
    std::fs::write(at("b.safetensors"), safetensors(&[("w.1", "F32", &[2], &f32s(&[3.0, 4.0]))])).unwrap();
    let index = |text: &str| std::fs::write(at("i.json"), text).unwrap();
    index(r#"{"metadata":{},"weight_map":{"w.0":"a.safetensors","w.1":"b.safetensors"}}"#);
    assert_eq!(packed(at("i.json")), [2.0, 4.0, 6.0, 8.0]);
    let error = load(at("a.safetensors")).unwrap_err().to_string();
    assert_eq!(error, "the weights do not fit: no tensor `w.1` [R0201]");
    index(r#"{"weight_map":{"w.0":"../a.safetensors","w.1":"c.safetensors"}}"#);
    let error = load(at("i.json")).unwrap_err().to_string();
    assert!(error.contains("`../a.safetensors` is not the name of a file beside the index"), "{error}");
    assert!(error.contains("cannot read") && error.contains("c.safetensors"), "{error}");
    index(r#"{"weight_map":[]}"#);
    assert!(load(at("i.json")).unwrap_err().to_string().contains("not an index of safetensors files"));
    assert!(load(dir.path()).unwrap_err().to_string().contains("it is no regular file"));
    assert!(load(Path::new("/dev/zero")).unwrap_err().to_string().contains("it is no regular file"));
    assert!(load(Path::new("none.safetensors")).unwrap_err().to_string().contains("cannot read none.safetensors"));
    std::fs::write(at("twice.safetensors"), safetensors(&[("w.0", "F32", &[2], &[0; 8])])).unwrap();
    index(r#"{"weight_map":{"w.0":"a.safetensors","w.1":"twice.safetensors"}}"#);
    assert!(load(at("i.json")).unwrap_err().to_string().contains("tensor `w.0` stands in "));
}

#[test]
fn random_weights_are_the_same_for_the_same_seed() {
    let values = |seed| packed(WeightSource::Random(seed));
    assert_eq!(values(1), values(1));
    assert_ne!(values(1), values(2));
    assert!(values(3).iter().all(|v| v.is_finite() && *v != 0.0));
    let random = Weights::random(&manifest(), 1).unwrap();
    let tensors: Vec<_> = random.tensors().collect();
    assert_eq!(tensors, [("w.0", "f32", &[2u64][..]), ("w.1", "f32", &[2][..])]);
    assert_eq!(Elem::parse(tensors[0].1), Some(Elem::F32));
}

/// A file with this header before eight bytes of data.
fn headed(header: &str) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &[0; 8]].concat()
}

fn told(file: Vec<u8>) -> String {
    Weights::from_bytes(file).unwrap_err().to_string()
}

// The faults that loaders of weight files are known for.

#[test]
fn a_count_from_the_file_reserves_nothing() {
    for count in [u64::MAX, u64::MAX - 7, 1 << 40, 1 << 62] {
        let mut file = headed("{}");
        file[..8].copy_from_slice(&count.to_le_bytes());
        assert!(told(file).contains("not a safetensors file"));
    }
}

#[test]
fn elements_of_no_bytes_are_not_counted_one_by_one() {
    let none = headed(
        r#"{"w":{"dtype":"F32","shape":[0,1152921504606846976],"data_offsets":[0,0]},"v":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}}"#,
    );
    let weights = Weights::from_bytes(none).expect("an empty tensor may have any shape");
    assert_eq!(weights.tensors().count(), 2);
}

#[test]
fn a_position_that_overflows_is_refused() {
    for offsets in ["0,18446744073709551615", "18446744073709551608,18446744073709551615", "8,0", "4,12", "0,9", "-1,7"]
    {
        let header = format!(r#"{{"w":{{"dtype":"U8","shape":[8],"data_offsets":[{offsets}]}}}}"#);
        assert!(told(headed(&header)).contains("not a safetensors file"), "{offsets}");
    }
    for shape in ["4611686018427387904,4", "18446744073709551615,2", "9223372036854775808,2"] {
        let header = format!(r#"{{"w":{{"dtype":"F32","shape":[{shape}],"data_offsets":[0,8]}}}}"#);
        assert!(told(headed(&header)).contains("not a safetensors file"), "{shape}");
    }
}

#[test]
fn a_name_that_cannot_be_read_is_an_error_and_not_an_empty_name() {
    let mut file = headed(r#"{"ww":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}}"#);
    file[10] = 0xff;
    assert!(told(file).contains("UTF-8"));
    let unnamed = Weights::from_bytes(headed(r#"{"":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}}"#)).unwrap();
    assert_eq!(unnamed.tensors().next().unwrap().0, "");
    assert!(load(unnamed).unwrap_err().to_string().contains("no tensor `w.0`"));
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let whole = safetensors(&[("w.0", "F32", &[2], &f32s(&[1.0, 2.0])), ("w.1", "F32", &[2], &f32s(&[3.0, 4.0]))]);
    for length in 0..whole.len() {
        assert!(Weights::from_bytes(&whole[..length]).is_err(), "{length} of {} bytes", whole.len());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cut.safetensors");
        std::fs::write(&path, &whole[..length]).unwrap();
        assert!(Weights::open(&path).is_err(), "{length} of {} bytes", whole.len());
    }
}

#[test]
fn nesting_a_million_deep_is_refused() {
    assert!(told(headed(&format!(r#"{{"w":{}"#, "[".repeat(1_000_000)))).contains("not a safetensors file"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn edits_of_a_file_never_panic(edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut file = safetensors(&[("w.0", "F32", &[2], &f32s(&[1.0, 2.0])), ("w.1", "F32", &[2], &f32s(&[3.0, 4.0]))]);
        for (at, value) in edits {
            let at = at.index(file.len());
            file[at] = value;
        }
        if let Ok(weights) = Weights::from_bytes(file) {
            let _ = load(weights);
        }
    }

    #[test]
    fn garbage_is_refused(garbage in prop::collection::vec(any::<u8>(), 0..500)) {
        prop_assert!(Weights::from_bytes(garbage).is_err());
    }
}
