"""What every row needs: servers with their CPU time and memory, load, medians, the table and the chart."""
import atexit, os, pathlib, random, re, signal, socket, statistics, subprocess, sys, time, urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
TICKS = os.sysconf("SC_CLK_TCK")
CONNECTIONS = 16
WORDS = ("ink stone paper letter press type margin quiet river morning window garden lamp story page chapter "
         "reader writer sentence thought line word voice stair harbour winter light copper thread signal").split()


def sh(*command, **options):
    return subprocess.run(command, check=True, cwd=ROOT, **options)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def get(url, headers=None, method="GET", body=None):
    request = urllib.request.Request(url, headers=headers or {}, method=method, data=body)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.status, dict(answer.headers), answer.read()


def write_posts(folder, count):
    """A folder of Markdown files, as `inkstone import markdown` reads them. Seeded: every run has the same posts."""
    rng = random.Random(1)
    for number in range(count):
        text = "\n\n".join(" ".join(rng.choice(WORDS) for _ in range(90)) + "." for _ in range(5))
        tags = ", ".join(f'"Topic {t}"' for t in sorted(rng.sample(range(50), 3)))
        day = f"{2005 + number // 600:04}-{1 + number // 50 % 12:02}-{1 + number % 28:02}T{number % 24:02}:{number % 60:02}:00Z"
        (folder / f"post-{number:06}.md").write_text(
            f'+++\ntitle = "Post {number}: {rng.choice(WORDS)} {rng.choice(WORDS)}"\ndate = {day}\n'
            f'authors = ["Author {number % 10}"]\n[taxonomies]\ntags = [{tags}]\n+++\n\n{text}\n')


class Server:
    """A process, pinned to core 0 unless told otherwise, with its CPU time and memory."""

    def __init__(self, name, command, url, ready="/", pinned=True):
        self.name, self.url = name, url
        self.log = open(ROOT / "target" / f"bench-{name}.log", "w")
        started = time.monotonic()
        self.process = subprocess.Popen([*(["taskset", "-c", "0"] if pinned else []), *map(str, command)], cwd=ROOT, stdout=self.log, stderr=self.log)
        # A run that stops in the middle leaves nothing behind.
        atexit.register(self.stop)
        while True:
            if self.process.poll() is not None:
                sys.exit(f"{name} stopped at once: see target/bench-{name}.log")
            try:
                get(url + ready)
                break
            except OSError:
                if time.monotonic() - started > 60:
                    sys.exit(f"{name} did not answer within a minute")
                time.sleep(0.002)
        self.first_answer_ms = (time.monotonic() - started) * 1000
        self.idle_mb = self.memory_mb()

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory_mb(self):
        return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{self.process.pid}/status").read_text())[1]) / 1024

    def stop(self):
        if self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()


def load(servers, path, seconds, script=None, headers=(), pinned=True):
    """One burst of wrk from core 1, or from wherever there is room; at several servers in turn."""
    servers = servers if isinstance(servers, list) else [servers]
    first = servers[0]
    command = [*(["taskset", "-c", "1"] if pinned else []), "wrk", f"-t{len(servers)}", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "--timeout", "10s"]
    for header in headers:
        command += ["-H", header]
    if len(servers) > 1:
        script = in_turn(servers, script)
    if script:
        command += ["-s", str(script)]
    before = sum(server.cpu_seconds() for server in servers)
    text = subprocess.run(command + [first.url + path], check=True, capture_output=True, text=True).stdout
    cpu = sum(server.cpu_seconds() for server in servers) - before
    requests = int(re.search(r"(\d+) requests in", text)[1])
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    unit = {"us": 0.001, "ms": 1, "s": 1000}
    if not requests or (bad and int(bad[1]) > requests // 1000):
        sys.exit(f"{first.name} answered {path} with {bad[1] if bad else 'nothing but'} errors: see target/bench-{first.name}.log")
    latency = {q: float(v) * unit[u] for q, v, u in re.findall(r"(50|99)%\s+([\d.]+)(us|ms|s)", text)}
    return {
        "rps": float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1]),
        "per_cpu": requests / cpu if cpu else 0.0, "requests": requests,
        "p50_ms": latency.get("50", 0), "p99_ms": latency.get("99", 0),
        "errors": int(bad[1]) if bad else 0, "mb": sum(server.memory_mb() for server in servers),
    }


def in_turn(servers, script):
    """A script for wrk whose threads have a server each."""
    places = ", ".join('{"%s", "%s"}' % tuple(server.url.removeprefix("http://").split(":")) for server in servers)
    text = pathlib.Path(script).read_text() if script else ""
    path = ROOT / "target" / f"bench-in-turn-{len(servers)}.lua"
    path.write_text(f"local places = {{{places}}}\nlocal next = 0\nsetup = function(thread)\n  next = next % #places + 1\n"
                    f"  thread.addr = wrk.lookup(places[next][1], places[next][2])[1]\nend\n{text}")
    return path


def median(rows):
    return {key: statistics.median(row[key] for row in rows) for key in rows[0]}


def chart(results, target):
    """The ratios as bars; the line is the limit."""
    rows = [(name, r["ratio"], r["against"]) for name, r in results.items() if r.get("ratio")]
    width, left, bar, gap = 900, 300, 22, 14
    scale = (width - left - 70) / max(1.1, *(ratio for _, ratio, _ in rows))
    height = 60 + len(rows) * (bar + gap)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="system-ui, sans-serif" font-size="13">',
           f'<rect width="{width}" height="{height}" fill="#fbfaf7"/>',
           '<text x="16" y="26" font-size="15" font-weight="600">Speed as a fraction of the limit in the same run: per server-CPU-second; against pgbench, a second</text>']
    for i, (name, ratio, against) in enumerate(rows):
        y = 46 + i * (bar + gap)
        out += [f'<text x="{left - 10}" y="{y + 15}" text-anchor="end">{name}</text>',
                f'<rect x="{left}" y="{y}" width="{ratio * scale:.1f}" height="{bar}" rx="3" fill="#33526b"/>',
                f'<text x="{left + ratio * scale + 6:.1f}" y="{y + 15}">{ratio:.2f} of {against}</text>']
    x = left + scale
    out += [f'<line x1="{x:.1f}" y1="38" x2="{x:.1f}" y2="{height - 8}" stroke="#b0483a" stroke-dasharray="4 3"/>', "</svg>\n"]
    target.write_text("\n".join(out))


def table(results):
    lines = ["| workload | requests/s | per CPU-second | limit: requests/s | limit: per CPU-second | ratio | p50 ms | p99 ms | MB | errors |", "|---|---|---|---|---|---|---|---|---|---|"]
    for name, row in results.items():
        number = lambda key, form=",.0f": format(row[key], form) if row.get(key) is not None else ""
        ratio = f"{row['ratio']:.2f} of {row['against']}" if row.get("ratio") else ""
        if row.get("ratio_per_cpu") and row["ratio_per_cpu"] != row["ratio"]:
            ratio += f" ({row['ratio_per_cpu']:.2f} per CPU-second)"
        lines.append(f"| {name} | {number('rps')} | {number('per_cpu')} | {number('limit_rps')} | {number('limit_per_cpu')} | {ratio} "
                     f"| {number('p50_ms', '.2f')} | {number('p99_ms', '.2f')} | {number('mb')} | {number('errors')} |")
    return "\n".join(lines)
