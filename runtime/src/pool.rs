//! Threads that run one function at the same time.
//!
//! A plan's calls take microseconds, so a wake-up by the system (tens to hundreds of microseconds) would cost more than it
//! brings: workers spin for a bounded while after each job and only then sleep. A caller that finds them asleep wakes them
//! and begins alone; they join once they are there. One job runs at a time. A caller that finds the pool busy runs alone
//! instead of waiting, and where callers come at once each counts as a thread: results do not depend on how many threads there are.
#![allow(unsafe_code, reason = "lends a borrowed closure to other threads until they are done with it")]

use std::cell::UnsafeCell;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::Instant;

/// Turns that a worker spins before it sleeps: some hundred microseconds, longer than a caller needs between two calls of
/// a model in a loop.
const SPINS_BEFORE_SLEEP: u32 = 20_000;
/// Turns before a waiting thread offers its core to others: more threads than free cores must still make progress.
const SPINS_BEFORE_YIELD: u32 = 2_000;
/// Work of this many nanoseconds is worth a wake-up, which costs the caller a system call of some microseconds, and
/// brings a worker after 50 (bare metal) to 600 (measured on a virtual machine) microseconds.
const WAKE_NS: f64 = 200_000.0;
/// Calls that come this close, in microseconds, are in a row: workers stay awake between them.
const IN_A_ROW_US: u64 = 200;
/// More threads than this are not started.
const MAX_THREADS: usize = 1024;
/// Bits of the epoch that hold the number of threads.
const THREAD_BITS: u32 = 16;
const _: () = assert!(MAX_THREADS < 1 << THREAD_BITS);

/// Threads that wait for jobs. Cheap to clone; the threads end with the last clone.
#[derive(Clone)]
pub struct Pool(Arc<Owner>);

struct Owner {
    shared: Arc<Shared>,
    workers: Vec<Thread>,
    handles: Vec<JoinHandle<()>>,
}

type Job<'a> = &'a (dyn Fn(usize) + Sync);

struct Shared {
    /// Callers that are at work, with the pool or alone.
    callers: AtomicUsize,
    /// Somebody runs a job.
    busy: AtomicBool,
    /// The number of the job, and in the low bits how many threads it wants: a change is the signal to start.
    epoch: AtomicU64,
    /// Workers that have not finished the job.
    running: AtomicUsize,
    /// For each worker: it sleeps or is about to.
    asleep: Vec<AtomicBool>,
    stop: AtomicBool,
    start: Instant,
    /// When a caller's last work to share ended, in microseconds since `start`.
    last_us: AtomicU64,
    /// A worker's job panicked.
    panicked: AtomicBool,
    /// Written by the caller who set `busy`, while no worker runs; read by the workers that the epoch wants.
    job: UnsafeCell<Option<Job<'static>>>,
}

// SAFETY: all fields but `job` are atomics. `job` is written only between taking `busy` and publishing the epoch, when no
// worker reads it (`running` is 0), and read only by workers that this epoch wants, before they decrement `running`.
unsafe impl Sync for Shared {}
// SAFETY: the closure in `job` is `Sync`, so it may be called from any thread.
unsafe impl Send for Shared {}

impl Pool {
    /// A pool of `threads`, the caller's included: 1 starts none. `None`: as many as this process may use (its affinity and
    /// control group respected).
    ///
    /// # Errors
    /// The system refused to start a thread.
    pub fn new(threads: Option<NonZeroUsize>) -> std::io::Result<Self> {
        let threads = match threads {
            Some(n) => n.get().min(MAX_THREADS),
            None => std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
        };
        let shared = Arc::new(Shared {
            callers: AtomicUsize::new(0),
            busy: AtomicBool::new(false),
            epoch: AtomicU64::new(0),
            running: AtomicUsize::new(0),
            asleep: (1..threads).map(|_| AtomicBool::new(false)).collect(),
            stop: AtomicBool::new(false),
            start: Instant::now(),
            last_us: AtomicU64::new(0),
            panicked: AtomicBool::new(false),
            job: UnsafeCell::new(None),
        });
        // Filled as it goes: if a thread cannot be started, dropping this ends those that were.
        let mut owner = Owner { shared, workers: Vec::new(), handles: Vec::new() };
        for number in 1..threads {
            let shared = owner.shared.clone();
            let handle =
                std::thread::Builder::new().name(format!("gatec-{number}")).spawn(move || shared.work(number))?;
            owner.workers.push(handle.thread().clone());
            owner.handles.push(handle);
        }
        Ok(Self(Arc::new(owner)))
    }

    /// How many threads a job can have, the caller's included.
    pub fn threads(&self) -> usize {
        self.0.workers.len() + 1
    }

    /// Runs `job(0)` here and `job(1..threads)` on workers, and returns when all are done. `false`: the pool is busy, and
    /// nothing was run.
    ///
    /// # Panics
    /// If the job did, on any thread.
    pub(crate) fn try_run(&self, threads: usize, job: &(dyn Fn(usize) + Sync)) -> bool {
        let shared = &*self.0.shared;
        let threads = threads.min(self.threads());
        if threads <= 1 || shared.busy.swap(true, Ordering::Acquire) {
            return false;
        }
        // SAFETY: only the lifetime changes. `finish` below waits, also when `job(0)` panics, until no worker uses it.
        let lent = unsafe { std::mem::transmute::<Job<'_>, Job<'static>>(job) };
        // SAFETY: `busy` is ours and `running` is 0 (the previous caller waited for that), so no worker reads `job`.
        unsafe { *shared.job.get() = Some(lent) };
        shared.running.store(threads - 1, Ordering::Relaxed);
        let number = (shared.epoch.load(Ordering::Relaxed) >> THREAD_BITS).wrapping_add(1);
        // Sequentially consistent with the worker's `asleep` and its second look at `epoch`: either we see it asleep or it
        // sees the new epoch.
        shared.epoch.store((number << THREAD_BITS) | threads as u64, Ordering::SeqCst);
        self.wake(threads);
        let finish = Finish(shared);
        job(0);
        drop(finish);
        let panicked = shared.panicked.swap(false, Ordering::Relaxed);
        shared.busy.store(false, Ordering::Release);
        assert!(!panicked, "a thread of gatec's pool panicked");
        true
    }
}

impl Pool {
    /// A caller begins work of which it could share some.
    pub(crate) fn enter(&self) -> Caller<'_> {
        let others = self.0.shared.callers.fetch_add(1, Ordering::Relaxed);
        Caller { shared: &self.0.shared, threads: self.threads().saturating_sub(others).max(1) }
    }

    /// Would a job of `threads` start at once?
    pub(crate) fn is_awake(&self, threads: usize) -> bool {
        let shared = &*self.0.shared;
        shared.asleep.iter().take(threads - 1).all(|asleep| !asleep.load(Ordering::Relaxed))
            && !shared.busy.load(Ordering::Relaxed)
    }

    /// Wakes the workers of a job of `threads`; returns before they are.
    pub(crate) fn wake(&self, threads: usize) {
        for (worker, asleep) in self.0.workers.iter().zip(&self.0.shared.asleep).take(threads - 1) {
            if asleep.load(Ordering::SeqCst) {
                worker.unpark();
            }
        }
    }

    /// The caller has work of `ns` nanoseconds to share. Is it worth waking workers? Yes if it is long by itself, or if calls
    /// come in a row.
    pub(crate) fn is_worth_waking(&self, ns: f64) -> bool {
        let last = self.0.shared.last_us.load(Ordering::Relaxed);
        ns >= WAKE_NS || self.0.shared.now_us().saturating_sub(last) < IN_A_ROW_US
    }
}

/// A caller at work; dropped when its work to share has ended.
pub(crate) struct Caller<'a> {
    shared: &'a Shared,
    /// Threads that the callers before it leave to this one, itself included: more would only take turns on the same cores.
    pub threads: usize,
}

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        self.shared.last_us.store(self.shared.now_us(), Ordering::Relaxed);
        self.shared.callers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("threads", &self.threads()).finish()
    }
}

/// Waits for the workers when dropped, so also when the caller's share panics.
struct Finish<'a>(&'a Shared);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        wait(|| self.0.running.load(Ordering::Acquire) == 0);
        if std::thread::panicking() {
            self.0.panicked.store(false, Ordering::Relaxed);
            self.0.busy.store(false, Ordering::Release);
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.epoch.fetch_add(1 << THREAD_BITS, Ordering::SeqCst);
        for worker in &self.workers {
            worker.unpark();
        }
        for handle in self.handles.drain(..) {
            // A worker catches panics of jobs; one of its own would have been reported on standard error already.
            let _ = handle.join();
        }
    }
}

impl Shared {
    fn now_us(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }

    fn work(&self, number: usize) {
        let mut seen = 0;
        loop {
            seen = self.next_epoch(number, seen);
            if self.stop.load(Ordering::Acquire) {
                return;
            }
            if number >= (seen & ((1 << THREAD_BITS) - 1)) as usize {
                continue;
            }
            // SAFETY: this epoch wants this worker, so its caller wrote `job` before and waits for the worker (`running`) before
            // anything is written again.
            let job = unsafe { *self.job.get() };
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| job.map(|job| job(number))));
            if result.is_err() {
                self.panicked.store(true, Ordering::Relaxed);
            }
            self.running.fetch_sub(1, Ordering::Release);
        }
    }

    /// Waits for another epoch than `seen`. Who is woken without one spins again: a job is near.
    fn next_epoch(&self, number: usize, seen: u64) -> u64 {
        loop {
            for _ in 0..SPINS_BEFORE_SLEEP {
                let epoch = self.epoch.load(Ordering::Acquire);
                if epoch != seen {
                    return epoch;
                }
                std::hint::spin_loop();
            }
            let asleep = &self.asleep[number - 1];
            asleep.store(true, Ordering::SeqCst);
            if self.epoch.load(Ordering::SeqCst) == seen {
                std::thread::park();
            }
            asleep.store(false, Ordering::SeqCst);
        }
    }
}

/// Spins until `done`, and lets others have the core if that takes long.
fn wait(done: impl Fn() -> bool) {
    for _ in 0..SPINS_BEFORE_YIELD {
        if done() {
            return;
        }
        std::hint::spin_loop();
    }
    while !done() {
        std::thread::yield_now();
    }
}

/// A point that all threads of a job pass together: what was written before it is seen after it.
#[derive(Debug, Default)]
pub(crate) struct Barrier {
    arrived: AtomicUsize,
    round: AtomicU32,
}

impl Barrier {
    /// Waits for all `threads`.
    pub(crate) fn wait(&self, threads: usize) {
        let round = self.round.load(Ordering::Relaxed);
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == threads {
            self.arrived.store(0, Ordering::Relaxed);
            self.round.store(round.wrapping_add(1), Ordering::Release);
        } else {
            wait(|| self.round.load(Ordering::Acquire) != round);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    fn pool(threads: usize) -> Pool {
        Pool::new(NonZeroUsize::new(threads)).unwrap()
    }

    #[test]
    fn every_thread_runs_its_share_once() {
        for threads in [2, 3, 7] {
            let pool = pool(threads);
            let counts: Vec<AtomicU64> = (0..threads).map(|_| AtomicU64::new(0)).collect();
            for _ in 0..200 {
                assert!(pool.try_run(threads, &|t| {
                    counts[t].fetch_add(1, Ordering::Relaxed);
                }));
            }
            assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 200));
        }
    }

    #[test]
    fn jobs_of_fewer_threads_leave_the_others_asleep() {
        let pool = pool(4);
        let high = AtomicU64::new(0);
        for round in 0..300 {
            let threads = 2 + round % 3;
            assert!(pool.try_run(threads, &|t| {
                high.fetch_max(t as u64, Ordering::Relaxed);
                assert!(t < threads);
            }));
        }
        assert_eq!(high.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn workers_wake_from_sleep() {
        let pool = pool(2);
        for _ in 0..3 {
            std::thread::sleep(std::time::Duration::from_millis(20));
            let ran = AtomicU64::new(0);
            assert!(pool.try_run(2, &|_| {
                ran.fetch_add(1, Ordering::Relaxed);
            }));
            assert_eq!(ran.load(Ordering::Relaxed), 2);
        }
    }

    #[test]
    fn a_busy_pool_refuses_instead_of_waiting() {
        let pool = pool(2);
        let inner = pool.clone();
        let refused = AtomicBool::new(false);
        assert!(pool.try_run(2, &|t| {
            if t == 0 {
                refused.store(!inner.try_run(2, &|_| {}), Ordering::Relaxed);
            }
        }));
        assert!(refused.load(Ordering::Relaxed));
        assert!(!Pool::new(NonZeroUsize::new(1)).unwrap().try_run(1, &|_| {}), "one thread is no pool");
    }

    #[test]
    fn callers_at_once_share_the_threads() {
        let pool = pool(3);
        let threads = |n: usize| {
            let callers: Vec<Caller> = (0..n).map(|_| pool.enter()).collect();
            callers.iter().map(|c| c.threads).collect::<Vec<_>>()
        };
        assert_eq!(threads(5), [3, 2, 1, 1, 1]);
        assert_eq!(threads(1), [3], "those before have left");
    }

    #[test]
    fn a_panic_of_a_job_reaches_the_caller_and_the_pool_lives_on() {
        let pool = pool(2);
        for guilty in [0, 1] {
            let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                pool.try_run(2, &|t| assert_ne!(t, guilty));
            }));
            assert!(caught.is_err());
            assert!(pool.try_run(2, &|_| {}));
        }
    }

    #[test]
    fn a_barrier_separates_rounds() {
        let pool = pool(3);
        let barrier = Barrier::default();
        let count = AtomicU64::new(0);
        pool.try_run(3, &|_| {
            for round in 1..=100 {
                count.fetch_add(1, Ordering::Relaxed);
                barrier.wait(3);
                assert_eq!(count.load(Ordering::Relaxed), 3 * round);
                barrier.wait(3);
            }
        });
    }
}
