//! `cargo bench -p bench-micro`: how long operations of logfs take on the simulator.
#![forbid(unsafe_code)]

use bench_micro::OPERATIONS;
use criterion::Criterion;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for operation in OPERATIONS {
        let mut step = (operation.prepare)().expect(operation.name);
        let mut number = 0;
        criterion.bench_function(operation.name, |bencher| {
            bencher.iter(|| {
                step(number).expect(operation.name);
                number += 1;
            });
        });
    }
    criterion.final_summary();
}
