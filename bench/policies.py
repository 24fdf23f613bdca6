"""The gate with few and with many organisation policies: what is decided once for a session costs the next request nothing."""

import gate as gates

COUNTS = [0, 20, 200]  # beside the one that permits


def text(count):
    """One that permits, and so many that concern every integration and never apply to this one."""
    return '@id("granted") permit (principal, action, resource);\n' + "".join(
        f'@id("p{number}") forbid (principal, action, resource == Type::"Observation") when {{ context.session.task == "other-{number}" }};\n'
        for number in range(count))


def measure(bench, path, rounds):
    """{connections: {count: requests a second}}, the middle of the rounds; all counts in each round."""
    rates, at = {}, bench.folder / "policies.toml"
    for _ in range(rounds):
        for count in COUNTS:
            at.write_text(f"[[policy]]\ntext = '''\n{text(count)}'''\n")
            bench.gate.hilum("apply", "-f", str(at), person=gates.OFFICER)
            for connections in bench.options.connections:
                rates.setdefault(connections, {}).setdefault(count, []).append(bench.cell("Hilum", path, connections)["rate"])
    return {connections: {count: sorted(found)[len(found) // 2] for count, found in row.items()} for connections, row in rates.items()}


def section(rates):
    """Its part of the results."""
    out = ["## Organisation policies", "",
           "Each of them reads the session alone, so it is decided with the first request of a session and kept; one more permits.", "",
           "| connections | " + " | ".join(f"{count} policies, 2 KB requests/s" for count in COUNTS) + " | most of none |", "|--:|" + "--:|" * (len(COUNTS) + 1)]
    for connections, row in rates.items():
        out.append(f"| {connections} | " + " | ".join(f"{row[count]:,.0f}" for count in COUNTS) + f" | {row[COUNTS[-1]] / row[COUNTS[0]]:.2f} |")
    return out + [""]
