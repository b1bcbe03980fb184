//! After the first run at some sizes, runs allocate nothing.
#![allow(unsafe_code, reason = "an allocator that counts")]

mod fixture;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use gatec_runtime::View;

struct Counting;

static COUNT: AtomicU64 = AtomicU64::new(0);

// SAFETY: hands everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One test: another would allocate meanwhile.
#[test]
fn runs_after_the_first_allocate_nothing() {
    for threads in [1, 2] {
        let model = fixture::model(threads);
        let mut session = model.session("scale").unwrap();
        let x = vec![1.0f32; 4 * 100];
        let mut y = vec![0.0f32; 4 * 100];
        let mut run = |rows: usize| {
            let outputs = session.run(&[("x", View::flat(&x[..4 * rows]))]).unwrap();
            assert_eq!(outputs.slice::<f32>("y").unwrap()[0], 2.0);
            session
                .run_into(&[("x", View::flat(&x[..4 * rows]))], &mut [("y", y[..4 * rows].as_mut().into())])
                .unwrap();
            session.enter("scan").unwrap();
            session.run(&[("x", View::flat(&x[..4 * rows]))]).unwrap();
            session.enter("scale").unwrap();
        };
        run(100);
        run(7);
        let before = COUNT.load(Ordering::Relaxed);
        for round in 0..200 {
            // Other sizes that are no larger take the memory that is there.
            run([100, 7, 64][round % 3]);
        }
        assert_eq!(COUNT.load(Ordering::Relaxed) - before, 0, "with {threads} threads");

        session.set_profiled(true).set_traced(10);
        let before = COUNT.load(Ordering::Relaxed);
        for _ in 0..20 {
            session.run(&[("x", View::flat(&x))]).unwrap();
        }
        assert_eq!(COUNT.load(Ordering::Relaxed) - before, 0, "watched, with {threads} threads");
    }
}
