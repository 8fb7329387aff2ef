"""The ADE20K classes (0-based) that the picture world shows."""

WALL, BUILDING, SKY, FLOOR, TREE, ROAD, BED, WINDOW = 0, 1, 2, 3, 4, 6, 7, 8
GRASS, SIDEWALK, PERSON, DOOR, TABLE, MOUNTAIN, PLANT, CURTAIN = 9, 11, 12, 14, 15, 16, 17, 18
CAR, PAINTING, SOFA, HOUSE, SEA, RUG, FENCE, ROCK, LAMP = 20, 22, 23, 25, 26, 28, 32, 34, 36
SAND, SKYSCRAPER, RIVER, BRIDGE, FLOWER, HILL, BENCH, PALM = 46, 48, 60, 61, 66, 68, 69, 72
BOAT, TOWER, STREETLIGHT, ANIMAL = 76, 84, 87, 126

FORM = 108
"""Of free forms: ADE20K calls them playthings."""

SHOWN: tuple[int, ...] = tuple(sorted(value for name, value in vars().items() if name.isupper() and type(value) is int))
"""All of them, and so the classes that the embedded model has seen."""
