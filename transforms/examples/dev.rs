use safemig_transforms::analysis::*;
use safemig_transforms::migration::*;
use safemig_transforms::settings::*;
fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let mut settings = Settings::default();
    if std::env::var("NEW").is_ok() { settings.target.alembic = Some((1,20,1)); settings.target.sqlalchemy = Some((2,0,40)); }
    let out = std::env::var("OUT").ok();
    let quiet = std::env::var("QUIET").is_ok();
    let mut stats = std::collections::BTreeMap::<String, (usize,usize)>::new();
    let mut reasons = std::collections::BTreeMap::<String, usize>::new();
    for dir in &args {
        let mut files: Vec<_> = walk(dir);
        files.sort();
        let mut migrations = vec![];
        for f in &files {
            let Ok(src) = std::fs::read_to_string(f) else { continue };
            match Migration::parse(f.clone(), src) { Ok(Parsed::Migration(m)) => migrations.push(*m), Ok(_) => {}, Err(e) => println!("SYNTAX {f}: {e}") }
        }
        let h = History::new(migrations, &settings);
        let sel: &(dyn Fn(&str,&str)->bool + Sync) = &|_,_| true;
        if let Ok(t) = std::env::var("TABLE") {
            let mut c = safemig_transforms::catalog::Catalog::default(); let name = safemig_transforms::operations::TableName::new(None, &t); let mut was = None;
            for i in &h.map.order { for o in &h.migrations[*i].upgrade.operations { c.apply(o); let now = c.table(&name).map(|t| t.complete); if now != was { println!("{:?} -> {:?} by {} {:?}", was, now, h.migrations[*i].path, o.kind); was = now; } } }
        }
        let reports = h.check(&settings, sel);
        for p in &h.map.problems { println!("PROBLEM {} {}", h.migrations[p.migration].path, p.message); }
        println!("{dir}: {} migrations, {:?}, heads {}", h.migrations.len(), h.portability, h.map.heads.len());
        for (m, r) in h.migrations.iter().zip(&reports) {
            let fixed = r.fix(m, h.portability, &settings, sel, &|_| true);
            let (fx, left) = match &fixed { Some(f) => (f.fixed.clone(), f.left.clone()), None => (vec![], r.findings.clone()) };
            for f in &fx { stats.entry(f.rule.name()).or_default().0 += 1; }
            for f in &left { stats.entry(f.rule.name()).or_default().1 += 1;
                let reason = match &f.fix { Ok(_) => "NOT-LAID-OUT".to_string(), Err(e) => e.clone() };
                if !quiet { println!("LEFT {}:{} {} :: {}", m.path, m.module.position(f.range.start()).line, f.message, reason); }
                *reasons.entry(format!("{} :: {}", f.rule.name(), reason)).or_default() += 1; }
            if let (Some(o), Some(f)) = (&out, &fixed) { let rel = m.path.trim_start_matches(dir.as_str()).trim_start_matches('/'); let p = std::path::Path::new(o).join(rel); std::fs::create_dir_all(p.parent().unwrap()).unwrap(); std::fs::write(p, &f.source).unwrap();
                // second run
            }
            if let Some(f) = &fixed {
                let Ok(Parsed::Migration(m2)) = Migration::parse(m.path.clone(), f.source.clone()) else { println!("REPARSE {}", m.path); continue };
                let _ = m2;
                for f in &f.fixed { for n in &f.notes { *reasons.entry(format!("NOTE {}", n.split_once(" is ").map_or("", |x| x.1))).or_default() += 1; } }
            }
        }
    }
    for (k, (a, b)) in &stats { println!("{k}: fixed {a} left {b}"); }
    let mut v: Vec<_> = reasons.into_iter().collect(); v.sort_by_key(|x| std::cmp::Reverse(x.1));
    for (k, n) in v.iter().take(60) { println!("{n:5} {k}"); }
}
fn walk(d: &str) -> Vec<String> { let mut o = vec![]; for e in std::fs::read_dir(d).unwrap().flatten() { let p = e.path(); if p.is_dir() { o.extend(walk(p.to_str().unwrap())); } else if p.extension().is_some_and(|x| x=="py") { o.push(p.to_str().unwrap().to_owned()); } } o }
