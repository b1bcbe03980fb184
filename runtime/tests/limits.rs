//! A pool respects what its process may use.
#![cfg(target_os = "linux")]
#![allow(unsafe_code, reason = "asks the system, and tells it, which processors a thread may use")]

use gatec_runtime::pool::Pool;

/// As under `taskset -c N`. (A control group's quota is asked for by the same function of the standard library.)
#[test]
fn a_pool_has_no_more_threads_than_its_process_may_use() {
    // The affinity of this thread alone changes.
    let limited = std::thread::spawn(|| {
        let size = size_of::<libc::cpu_set_t>();
        // SAFETY: a set of bits, for which zeros are the empty set.
        let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        // SAFETY: writes no more than `size` bytes to `set`.
        assert_eq!(unsafe { libc::sched_getaffinity(0, size, &raw mut set) }, 0);
        let allowed: Vec<usize> = (0..libc::CPU_SETSIZE as usize)
            // SAFETY: the number is within the set.
            .filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) })
            .collect();
        let all = Pool::new(None).expect("a pool").threads();
        assert!(all <= allowed.len(), "{all} threads on {} processors", allowed.len());
        for cpu in &allowed[1..] {
            // SAFETY: as above.
            unsafe { libc::CPU_CLR(*cpu, &mut set) };
        }
        // SAFETY: reads `size` bytes of `set`.
        assert_eq!(unsafe { libc::sched_setaffinity(0, size, &raw const set) }, 0);
        Pool::new(None).expect("a pool").threads()
    });
    assert_eq!(limited.join().expect("it ends"), 1);
}
