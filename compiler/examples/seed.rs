fn main(){let s:u64=std::env::args().nth(1).unwrap().parse().unwrap();let m=gatec::graph::random::module(s,&Default::default());println!("{}",gatec::graph::text::print(&m));
let p=gatec::plan::plan(&m,gatec_runtime::format::Isa::X86V4,&[]).unwrap(); for k in &p.kernels{println!("{} {:?}\n",k.0,k.1)} println!("{:#?}", p.variant.entries[0].steps)}
