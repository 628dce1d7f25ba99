;; Copies standard input to standard output with the letters a to z in upper case. A WASI preview 1 program: exit code 74 when
;; reading or writing fails.
(module
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  ;; At 0 a block's address and length, as both functions want them; at 8 how many bytes they moved; the block at 1024.
  (memory (export "memory") 1)

  (func (export "_start")
    (local $got i32) (local $at i32) (local $put i32)
    (loop $more
      (call $block (i32.const 1024) (i32.const 32768))
      (call $check (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
      (local.set $got (i32.load (i32.const 8)))
      (if (i32.eqz (local.get $got)) (then (return)))
      (call $upper (i32.const 1024) (i32.add (i32.const 1024) (local.get $got)))
      (local.set $put (i32.const 0))
      (loop $rest
        (call $block (i32.add (i32.const 1024) (local.get $put)) (i32.sub (local.get $got) (local.get $put)))
        (call $check (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
        (local.set $put (i32.add (local.get $put) (i32.load (i32.const 8))))
        (br_if $rest (i32.lt_u (local.get $put) (local.get $got))))
      (br $more)))

  (func $block (param $at i32) (param $length i32)
    (i32.store (i32.const 0) (local.get $at))
    (i32.store (i32.const 4) (local.get $length)))

  (func $check (param $error i32)
    (if (local.get $error) (then (call $proc_exit (i32.const 74)))))

  (func $upper (param $at i32) (param $end i32)
    (local $byte i32)
    (loop $next
      (local.set $byte (i32.load8_u (local.get $at)))
      (if (i32.lt_u (i32.sub (local.get $byte) (i32.const 97)) (i32.const 26))
        (then (i32.store8 (local.get $at) (i32.sub (local.get $byte) (i32.const 32)))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $at) (local.get $end))))))
