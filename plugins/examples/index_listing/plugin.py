"""Directory listing pages (nginx, Apache, lighttpd, Caddy and others) as sources, recursively.

A link that ends with a slash, below one of the configured sites, is taken for such a page. Of its
links those count that lead below it: so neither the parent nor the links that sort, nor those of a
theme are followed, and the host is always the same.
"""

from collections import deque
from html.parser import HTMLParser
from urllib.parse import unquote, urljoin, urlsplit

from bot.core.plugin_manager import SourcePlugin


class IndexListing(SourcePlugin):
    """Directory listings as sources"""

    async def execute(self, link):
        config = self.get_config()
        if not link.endswith("/") or not any(is_below(link, site) for site in config["sites"]):
            return None
        files, seen, waiting = [], {link}, deque([(link, 0)])
        while waiting:
            page, depth = waiting.popleft()
            for found in children(page, await self._read(page)):
                if found in seen:
                    continue
                seen.add(found)
                if not found.endswith("/"):
                    files.append(found)
                elif depth < config["max_depth"]:
                    waiting.append((found, depth + 1))
                # Half of a folder is no mirror of it: better none, and a word.
                if len(files) > config["max_files"]:
                    raise RuntimeError(f"{link} lists more than {config['max_files']} files")
                if len(seen) - len(files) > config["max_pages"]:
                    raise RuntimeError(f"{link} has more than {config['max_pages']} folders")
        if not files:
            raise RuntimeError(f"{link} lists no files")
        return files

    async def _read(self, page):
        answer = await self.http.get(page, headers={"Accept": "text/html"}, timeout=30)
        kind = answer.headers.get("content-type", "")
        if answer.status != 200 or "html" not in kind:
            raise RuntimeError(f"{page} answered {answer.status} ({kind or 'no type'})")
        return answer.text


class _Links(HTMLParser):
    """The targets of the links of a page, in their order."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        if tag == "a" and (target := dict(attrs).get("href")):
            self.found.append(target.strip())


def children(page, text):
    """The links of a page that lead below it, whole, each once."""
    parser = _Links()
    parser.feed(text)
    parser.close()
    found = {}
    for target in parser.found:
        try:
            link = urljoin(page, target)
            if is_below(link, page) and link != page:
                found[link] = None
        except ValueError:  # no URL
            continue
    return list(found)


def is_below(link, folder):
    """Whether a link is in a folder, or is the folder itself; neither has a query."""
    a, b = urlsplit(link), urlsplit(folder if folder.endswith("/") else folder + "/")
    if (a.scheme, a.hostname, a.port) != (b.scheme, b.hostname, b.port):
        return False
    if a.query or a.fragment or "?" in link or "@" in a.netloc:
        return False
    # A server takes %2e%2e for .. as well, and that is the way out.
    parts = [unquote(part) for part in a.path.split("/")]
    if any(part in {".", ".."} or "/" in part or "\0" in part for part in parts):
        return False
    return a.path.startswith(b.path)
