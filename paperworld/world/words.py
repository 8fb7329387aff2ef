"""The words of the world: what a caption may say of things, places, times and colours, and what a bare word means."""

from __future__ import annotations

from paperworld.world.palette import NAMED

NOUNS: dict[str, tuple[tuple[str, str], ...]] = {
    "house": (("house", "houses"), ("cottage", "cottages")),
    "tree": (("tree", "trees"),),
    "pine": (("pine", "pines"), ("pine tree", "pine trees")),
    "palm": (("palm", "palms"), ("palm tree", "palm trees")),
    "bush": (("bush", "bushes"),),
    "flower": (("flower", "flowers"),),
    "rock": (("rock", "rocks"),),
    "car": (("car", "cars"),),
    "boat": (("boat", "boats"), ("sailboat", "sailboats")),
    "lighthouse": (("lighthouse", "lighthouses"),),
    "skyscraper": (("skyscraper", "skyscrapers"), ("tower", "towers")),
    "streetlight": (("street lamp", "street lamps"),),
    "bench": (("bench", "benches"),),
    "dog": (("dog", "dogs"),),
    "cat": (("cat", "cats"),),
    "sheep": (("sheep", "sheep"),),
    "cow": (("cow", "cows"),),
    "horse": (("horse", "horses"),),
    "fence": (("fence", "fences"),),
    "bridge": (("bridge", "bridges"),),
    "bed": (("bed", "beds"),),
    "sofa": (("sofa", "sofas"), ("couch", "couches")),
    "table": (("table", "tables"),),
    "plant": (("plant", "plants"),),
    "lamp": (("lamp", "lamps"),),
    "painting": (("painting", "paintings"), ("picture", "pictures")),
    "rug": (("rug", "rugs"), ("carpet", "carpets")),
    "window": (("window", "windows"),),
    "man": (("man", "men"),),
    "woman": (("woman", "women"),),
    "person": (("person", "people"),),
}
BACKDROPS: dict[str, tuple[str, ...]] = {
    "mountain": ("mountains",),
    "hill": ("hills",),
    "road": ("a road", "a path"),
    "river": ("a river",),
    "sea": ("the sea", "the ocean"),
    "sand": ("the beach", "sand"),
    "sun": ("the sun", "sun"),
    "moon": ("the moon", "moon"),
    "cloud": ("clouds",),
    "street": ("a street", "a road"),
}
PLACES_SAID: dict[str, tuple[str, ...]] = {
    "country": ("in the country", "on a meadow", "on grass"),
    "coast": ("by the sea", "at the beach", "on the beach", "near the sea"),
    "city": ("in the city", "in a town", "on a street"),
    "river": ("by a river", "at the river", "near a river"),
    "room": ("in a room", "at home"),
}
TIMES_SAID: dict[str, tuple[str, ...]] = {
    "day": ("sunny day", "day", "bright day"),
    "grey": ("cloudy day", "grey day"),
    "sunset": ("sunset", "dusk", "evening"),
    "night": ("night", "at night"),
    "dawn": ("dawn", "sunrise", "morning"),
}
SEASONS: dict[str, tuple[str, ...]] = {
    "spring": ("spring",),
    "summer": ("summer",),
    "autumn": ("autumn", "fall"),
    "winter": ("winter", "snow", "snowy"),
}
USUAL = {
    "house": "red", "car": "red", "boat": "red", "flower": "red", "sofa": "red", "bed": "red", "dog": "brown",
    "cat": "orange", "sheep": "white", "cow": "brown", "horse": "brown", "rug": "red",
}  # fmt: skip
"""Colours that things have when nobody says otherwise."""
NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five"}
THINGS: dict[str, str] = {
    "turtle": "green", "fish": "orange", "bird": "blue", "bear": "brown", "mouse": "grey", "rabbit": "white",
    "animal": "brown", "creature": "green", "balloon": "red", "cup": "blue", "leaf": "green", "star": "yellow",
    "heart": "red", "apple": "red", "pear": "green", "lemon": "yellow", "mushroom": "red", "rocket": "white",
    "face": "pink", "snail": "orange", "whale": "blue", "elephant": "grey", "pig": "pink", "frog": "green",
    "robot": "grey", "ghost": "white", "monster": "purple", "butterfly": "purple", "umbrella": "red", "hat": "black",
    "shoe": "brown", "bottle": "green", "vase": "blue", "ball": "red", "egg": "white", "cake": "pink", "key": "yellow",
    "guitar": "brown", "train": "black", "plane": "blue", "teapot": "blue", "banana": "yellow", "carrot": "orange",
    "cactus": "green", "clock": "yellow", "book": "red", "crown": "yellow", "snowman": "white", "duck": "yellow",
    "owl": "brown", "lion": "orange", "fox": "orange", "penguin": "black", "dog": "brown", "cat": "orange",
    "horse": "brown", "cow": "brown", "sheep": "white", "car": "red", "boat": "red", "house": "red", "flower": "red",
    "tree": "green", "cloud": "white", "sun": "yellow", "moon": "yellow", "lamp": "yellow", "rock": "grey",
    "dinosaur": "green", "dragon": "green", "ship": "red", "bus": "yellow", "truck": "red", "spider": "black",
    "castle": "grey", "person": "red", "boy": "blue", "girl": "pink", "circle": "blue", "square": "red",
    "triangle": "yellow",
}  # fmt: skip
"""What people draw, and the colour that the bare word means."""
PLAIN = ("shape", "form", "toy", "thing")
"""Words for what has no word: it is terracotta."""
WATER_SAID = ("in the sea", "in the ocean", "in water")
PAPER_SAID = ("on {}", "on {} paper", "on a {} background", "with a {} background", "with {} background")
DRAWN_SAID = ("a drawing of",)
FRAMES = ("a picture of", "an illustration of", "paper cut")
_GLUE = ("a", "an", "the", "and", "with", "by", "near", "in", "of", "at", "on", "many", "someone", "wearing")
_DOING = ("standing", "walking", "running", "waving", "jumping", "dancing", "sitting")


def _vocabulary() -> tuple[str, ...]:
    phrases = [form for forms in NOUNS.values() for pair in forms for form in pair]
    for table in (BACKDROPS, PLACES_SAID, TIMES_SAID, SEASONS):
        phrases += [phrase for phrases_ in table.values() for phrase in phrases_]
    phrases += [
        *NUMBERS.values(),
        *_GLUE,
        *_DOING,
        *FRAMES,
        *NAMED,
        "dress",
        "shirt",
        *THINGS,
        *PLAIN,
        *WATER_SAID,
        *DRAWN_SAID,
        "plain",
    ]
    phrases += [phrase.format("") for phrase in PAPER_SAID]
    return tuple(sorted({word for phrase in phrases for word in phrase.split()}))


WORDS: tuple[str, ...] = _vocabulary()
"""Every word that a caption can use."""
