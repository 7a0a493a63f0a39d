"""Memory settings of a training process, for its environment before it starts.

A step makes and drops some 5,000 tensors, 60 MB, the same ones each time. By default, glibc hands the end of the heap back to the system after every
step and gets it again page by page, 4 kB each: about 1,700 page faults per step. Kept (up to 1 GB), and in huge pages where the system grants them
("madvise" or "always" in /sys/kernel/mm/transparent_hugepage/enabled), there are none, and translating addresses costs less, most of all in a virtual
machine. A ResNet step on rel-f1 takes 80 ms of processor time instead of 84 to 90. That takes
glibc 2.35 or later and concerns the main thread's heap; that of another thread keeps 64 MB. Another C library ignores it; no result depends on it.
"""

TUNABLES = ":".join(
    f"glibc.malloc.{name}={value}"
    for name, value in {
        "hugetlb": 1,  # transparent huge pages
        "mmap_threshold": 1 << 30,
        "trim_threshold": 1 << 30,
        "top_pad": 1 << 26,
    }.items()
)
ENVIRONMENT = {"GLIBC_TUNABLES": TUNABLES}
"""Read by the dynamic loader: setting it within a running process does nothing."""
