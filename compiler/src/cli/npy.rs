//! NumPy's `.npy`: a magic number, a version, the length of a header, the header (a Python dictionary), the elements.
//!
//! What is read: little-endian elements of the types that gatec has, in C order.

use gatec_runtime::format::Elem;

use super::tensors::Tensor;

/// How every file begins.
pub const MAGIC: &[u8] = b"\x93NUMPY";
/// NumPy's own reader takes no longer header.
const MAX_HEADER: usize = 10_000;
/// NumPy has at most so many axes.
const MAX_AXES: usize = 64;

/// Reads a whole file.
pub fn read(bytes: &[u8]) -> Result<Tensor, String> {
    let (header, data) = split(bytes).ok_or("it is cut off, or no .npy file")?;
    let header = std::str::from_utf8(header).map_err(|_| "its header is no text")?;
    let descr = field(header, "descr").ok_or("its header has no `descr`")?;
    let elem = elem(descr.trim_matches(['\'', '"'])).ok_or_else(|| {
        format!("elements of type {descr}; there are f2, f4, f8, i1, i4, i8, u1 and bool, little-endian")
    })?;
    match field(header, "fortran_order") {
        Some("False") => {}
        Some("True") => return Err("Fortran order; save it with `numpy.ascontiguousarray`".into()),
        _ => return Err("its header has no `fortran_order`".into()),
    }
    let shape = field(header, "shape").and_then(shape).ok_or("its header has no `shape`")?;
    let elements = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
    let wanted = elements.and_then(|n| n.checked_mul(elem.bytes() as usize));
    let Some(data) = wanted.and_then(|n| data.get(..n)) else {
        return Err(format!("a shape of {shape:?} in a file with {} bytes of elements", data.len()));
    };
    if elem == Elem::Bool && data.iter().any(|b| *b > 1) {
        return Err("a bool that is neither 0 nor 1".into());
    }
    Ok(Tensor::new(elem, shape, data))
}

/// Header and elements.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (length, rest) = match rest {
        [1, _, a, b, rest @ ..] => (usize::from(u16::from_le_bytes([*a, *b])), rest),
        [2 | 3, _, a, b, c, d, rest @ ..] => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, rest),
        _ => return None,
    };
    if length > MAX_HEADER { None } else { rest.split_at_checked(length) }
}

/// The value of a key: up to the comma that ends it, brackets and quotes respected.
fn field<'h>(header: &'h str, key: &str) -> Option<&'h str> {
    let at = [format!("'{key}'"), format!("\"{key}\"")].iter().find_map(|k| Some(header.find(k)? + k.len()))?;
    let value = header[at..].trim_start().strip_prefix(':')?.trim_start();
    let end = match value.chars().next()? {
        '(' => value.find(')')? + 1,
        quote @ ('\'' | '"') => value[1..].find(quote)? + 2,
        _ => value.find([',', '}'])?,
    };
    Some(value[..end].trim_end())
}

fn shape(text: &str) -> Option<Vec<usize>> {
    let inner = text.strip_prefix('(')?.strip_suffix(')')?.trim();
    let inner = inner.strip_suffix(',').unwrap_or(inner);
    if inner.is_empty() {
        return Some(Vec::new());
    }
    let sizes: Option<Vec<usize>> = inner.split(',').map(|n| n.trim().parse().ok()).collect();
    sizes.filter(|sizes| sizes.len() <= MAX_AXES)
}

fn elem(descr: &str) -> Option<Elem> {
    Some(match descr {
        "<f4" => Elem::F32,
        "<f8" => Elem::F64,
        "<f2" => Elem::F16,
        "<i4" => Elem::I32,
        "<i8" => Elem::I64,
        "|i1" => Elem::I8,
        "|u1" => Elem::U8,
        "|b1" => Elem::Bool,
        _ => return None,
    })
}

/// The bytes of a file.
pub fn write(tensor: &Tensor) -> Result<Vec<u8>, String> {
    let descr = match tensor.elem {
        Elem::F32 => "<f4",
        Elem::F64 => "<f8",
        Elem::F16 => "<f2",
        Elem::I32 => "<i4",
        Elem::I64 => "<i8",
        Elem::I8 => "|i1",
        Elem::U8 => "|u1",
        Elem::Bool => "|b1",
        Elem::Bf16 => return Err("NumPy has no bf16; write .safetensors".into()),
    };
    let shape: String = tensor.shape.iter().map(|n| format!("{n},")).collect();
    let dict = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}");
    // Magic, version 1.0 and length take 10 bytes; the header ends with a newline at a multiple of 64.
    let length = (dict.len() + 11).next_multiple_of(64) - 10;
    let mut bytes = [MAGIC, &[1, 0]].concat();
    bytes.extend((length as u16).to_le_bytes());
    bytes.extend(format!("{dict:<width$}\n", width = length - 1).bytes());
    bytes.extend(tensor.bytes());
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headed(header: &str, data: &[u8]) -> Vec<u8> {
        [MAGIC, &[1, 0], &(header.len() as u16).to_le_bytes(), header.as_bytes(), data].concat()
    }

    fn told(header: &str, data: &[u8]) -> String {
        read(&headed(header, data)).err().unwrap()
    }

    #[test]
    fn what_is_written_reads_back() {
        for (shape, elem) in
            [(vec![], Elem::F32), (vec![3], Elem::F16), (vec![2, 0], Elem::I64), (vec![1, 2, 3], Elem::Bool)]
        {
            let count = shape.iter().product::<usize>() * elem.bytes() as usize;
            let bytes: Vec<u8> = (0..count).map(|i| (i % 2) as u8).collect();
            let back = read(&write(&Tensor::new(elem, shape.clone(), &bytes)).unwrap()).unwrap();
            assert_eq!((back.elem, back.shape.clone(), back.bytes()), (elem, shape, bytes.as_slice()));
        }
    }

    #[test]
    fn headers_of_other_writers_are_read() {
        let other = headed("{\"shape\": (2,), \"descr\": \"<i4\", 'fortran_order':False}", &[1, 0, 0, 0, 2, 0, 0, 0]);
        assert_eq!(read(&other).unwrap().shape, [2]);
    }

    #[test]
    fn what_is_no_array_is_refused_with_the_reason() {
        let good = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
        assert!(told(good, &[0; 7]).contains("a shape of [2] in a file with 7 bytes"));
        assert!(told(&good.replace("False", "True"), &[0; 8]).contains("Fortran order"));
        assert!(told(&good.replace("<f4", ">f4"), &[0; 8]).contains("elements of type '>f4'"));
        assert!(told(&good.replace("2", "4611686018427387904, 4"), &[0; 8]).contains("a shape of"));
        assert!(told(&good.replace("2", "-2"), &[0; 8]).contains("no `shape`"));
        assert!(told(&"(".repeat(9000), &[]).contains("no `descr`"));
        assert!(told("{'descr': '|b1', 'fortran_order': False, 'shape': (1,), }", &[2]).contains("neither 0 nor 1"));
        let mut long = [MAGIC, &[2, 0], &u32::MAX.to_le_bytes()].concat();
        long.resize(100, b' ');
        assert!(read(&long).err().unwrap().contains("cut off"));
        assert!(read(b"").is_err() && read(MAGIC).is_err());
    }

    proptest! {
        #[test]
        fn random_edits_never_panic(edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
            let mut file = write(&Tensor::new(Elem::F32, vec![2, 3], &[0; 24])).unwrap();
            for (at, value) in edits {
                let at = at.index(file.len());
                file[at] = value;
            }
            let _ = read(&file);
        }
    }
}
