/* rename_prim.h: included by force (-include) when src/prim is compiled for unit tests: the real
 * functions get another name, and fake_prim.c, which stands before them, gets theirs. */
#ifndef TEST_SUPPORT_RENAME_PRIM_H
#define TEST_SUPPORT_RENAME_PRIM_H

#define prim_info_read       real_prim_info_read
#define prim_memory_limit    real_prim_memory_limit
#define prim_memory_pressure real_prim_memory_pressure
#define prim_map             real_prim_map
#define prim_unmap           real_prim_unmap
#define prim_access          real_prim_access
#define prim_purge           real_prim_purge
#define prim_reset           real_prim_reset
#define prim_guard           real_prim_guard
#define prim_unguard         real_prim_unguard
#define prim_is_locked       real_prim_is_locked
#define prim_mapping_bytes   real_prim_mapping_bytes
#define prim_move            real_prim_move
#define prim_advise_huge     real_prim_advise_huge
#define prim_map_large       real_prim_map_large
#define prim_wipe_on_fork    real_prim_wipe_on_fork
#define prim_clock_ms        real_prim_clock_ms
#define prim_random          real_prim_random
#define prim_env             real_prim_env
#define prim_env_has_any     real_prim_env_has_any
#define prim_env_ready       real_prim_env_ready
#define prim_write_error     real_prim_write_error
#define prim_thread_exit_init real_prim_thread_exit_init
#define prim_thread_exit_arm real_prim_thread_exit_arm
#define prim_wait            real_prim_wait
#define prim_helper_start    real_prim_helper_start
#define prim_helper_clock_ms real_prim_helper_clock_ms
#define prim_helper_hurry    real_prim_helper_hurry
#define prim_caller          real_prim_caller
#define prim_cpu_count       real_prim_cpu_count
#define prim_numa_count      real_prim_numa_count
#define prim_numa_node       real_prim_numa_node
#define prim_usage_read      real_prim_usage_read

#endif
